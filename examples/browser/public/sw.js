// Keeps the site in the browser, so that it opens without a network, and lets nothing out of it.

importScripts("site_files.js"); // `SITE`: the version and the files, written by the export.

const here = new URL("./", self.location);
const OURS = `espmedsam ${here.pathname} `; // Another site of this host keeps its own.
const NAME = OURS + SITE.version;

self.addEventListener("install", (event) => {
  const files = SITE.files.map((file) => new Request(new URL(file, here), { cache: "no-cache" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(files)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys().then((names) =>
      Promise.all(
        names
          .filter((name) => name.startsWith(OURS) && name !== NAME)
          .map((name) => caches.delete(name)),
      ),
    ),
  );
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (address.origin !== here.origin) {
    event.respondWith(Response.error());
    return;
  }
  const wanted = address.pathname === here.pathname ? new URL("index.html", here) : address;
  event.respondWith(
    caches.open(NAME)
      .then((cache) => cache.match(wanted, { ignoreSearch: true }))
      .then((found) => found ?? fetch(event.request)),
  );
});
