// Writes masks as PNG, bit for bit: a canvas may change pixels when it is read (some browsers do so
// against fingerprinting), and keeps no orientation.

// EXIF orientation -> swap the axes, flip the rows, flip the columns, to turn stored pixels upright.
const LAYOUTS = [
  [0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0],
];

/** Turn an upright array of single bytes back to the orientation of its stored image. */
export function asStored(pixels, width, height, orientation) {
  const [swap, rows, columns] = LAYOUTS[orientation - 1];
  const stored = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const v = rows ? height - 1 - y : y;
      const u = columns ? width - 1 - x : x;
      stored[swap ? u * height + v : v * width + u] = pixels[y * width + x];
    }
  }
  return swap ? [stored, height, width] : [stored, width, height];
}

/** A mask of 0 and 1 as a PNG of 0 and 255, stored and marked like its image. */
export async function maskPng(mask, uprightWidth, uprightHeight, orientation) {
  const [stored, width, height] = asStored(mask, uprightWidth, uprightHeight, orientation);
  const rows = new Uint8Array(height * (width + 1)); // Each row begins with its filter, 0 for none.
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = 255 * stored[y * width + x];
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8); // Bits; the zeros after it say grey, and no interlacing.
  const parts = [Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)];
  parts.push(chunk("IHDR", new Uint8Array(header.buffer)));
  if (orientation !== 1) parts.push(chunk("eXIf", exif(orientation)));
  parts.push(chunk("IDAT", await deflate(rows)), chunk("IEND", new Uint8Array()));
  return new Blob(parts, { type: "image/png" });
}

/** EXIF data with nothing but the orientation. */
function exif(orientation) {
  return Uint8Array.of(
    0x49, 0x49, 0x2a, 0, 8, 0, 0, 0, // Little endian; the first directory is at 8,
    1, 0, // and has one entry:
    0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, // tag 0x0112, one short.
    0, 0, 0, 0,
  );
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name, content) {
  const found = new Uint8Array(12 + content.length);
  const view = new DataView(found.buffer);
  view.setUint32(0, content.length);
  for (let k = 0; k < 4; k++) found[4 + k] = name.charCodeAt(k);
  found.set(content, 8);
  view.setUint32(8 + content.length, crc(found.subarray(4, 8 + content.length)));
  return found;
}

const TABLE = Array.from({ length: 256 }, (_, value) => {
  for (let k = 0; k < 8; k++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
