"""The page in Chromium: what is seen, corrected and saved, by mouse and by keyboard."""

import io
import json
import shutil
import threading
import time
import types
import urllib.request

import numpy as np
import pytest
import uvicorn
from PIL import Image

from keras_espmedsam.serve import ServedModel, ServerSettings, create_app
from keras_espmedsam.serve.server import listening
from tests.serve.conftest import Brightness, FirstPixel

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
nibabel = pytest.importorskip("nibabel")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.expected_conditions import alert_is_present  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not CHROMIUM or not DRIVER,
    reason="Chromium is not installed (Debian: apt-get install chromium chromium-driver)",
)

TOKEN = "0123456789abcdef"
_AFTER_DRAWING = "const f = requestAnimationFrame; const end = arguments[0]; f(() => f(() => {0}));"
_MASK = """
const canvas = document.getElementById("overlay");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
const mask = Array.from({ length: data.length / 4 }, (_, k) => data[4 * k + 3] > 0 ? 1 : 0);
end([canvas.width, canvas.height, mask]);
"""


class Page:
    """The page of a server, as a person uses it."""

    def __init__(self, driver, address, downloads):
        self.driver, self.address, self.downloads = driver, address, downloads

    def open(self):
        self.driver.get(self.address)
        self.until(lambda: self.of("drop").is_displayed())
        return self

    def of(self, name):
        return self.driver.find_element("id", name)

    def until(self, condition):
        return WebDriverWait(self.driver, 20, 0.01).until(lambda _: condition())

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait_after(self, action, beginning="Done"):
        """Do something, and return what the page then says."""
        self.run("document.getElementById('status').textContent = ''")
        action()
        self.until(lambda: self.of("status").text.startswith(beginning) or self.of("problem").text)
        return self.of("status").text or self.of("problem").text

    def choose(self, path):
        return self.wait_after(lambda: self.of("file").send_keys(str(path)))

    def set(self, name, value, *events):
        """Move a control, with the events of a person who does so."""
        script = "const one = document.getElementById(arguments[0]); one.value = arguments[1];"
        self.run(
            script + "for (const name of arguments[2]) one.dispatchEvent(new Event(name));",
            *(name, value, events or ("input",)),
        )

    def tool(self, name):
        self.driver.find_element("css selector", f"input[name=tool][value={name}]").click()

    @property
    def mask(self):
        """What is drawn over the image, without contours: bool `(height, width)`."""
        if self.of("contour").is_selected():
            self.of("contour").click()
        script = _AFTER_DRAWING.replace("{0}", "{" + _MASK + "}")
        width, height, values = self.driver.execute_async_script(script)
        return np.array(values, bool).reshape(height, width)

    def saved(self, button, name):
        """Save a result, and return its bytes."""
        path = self.downloads / name
        path.unlink(missing_ok=True)
        assert self.wait_after(self.of(button).click, "Saved") == f"Saved as {name}."
        self.until(path.exists)
        return path.read_bytes()

    def segment(self, content, query):
        """What the server itself answers."""
        request = urllib.request.Request(f"{self.address}segment?{query}", content)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for one in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(one)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.set_window_size(1280, 1000)
    yield types.SimpleNamespace(chrome=driver, downloads=downloads)
    driver.quit()


@pytest.fixture(scope="module")
def serve():
    """`serve(settings)`: the address of a server, which runs until the module's tests are done."""
    running = []

    def start(names=("bright",), **settings):
        models = [ServedModel(name, Brightness(), FirstPixel()) for name in names]
        app = create_app(models, ServerSettings(**settings))
        socket = listening("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
        thread.start()
        running.append((server, thread, socket))
        address = f"http://127.0.0.1:{socket.getsockname()[1]}/"
        until = time.monotonic() + 20
        while True:  # A browser would note a failed request.
            try:
                urllib.request.urlopen(f"{address}health").close()
                return address
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.02)

    yield start
    for server, thread, socket in running:
        server.should_exit = True
        thread.join()
        socket.close()


@pytest.fixture(scope="module")
def address(serve):
    return serve()


@pytest.fixture
def page(driver, address):
    """The page, opened anew. Afterwards, nothing of it went wrong or went elsewhere."""
    driver.chrome.get_log("browser")
    driver.chrome.get_log("performance")
    yield Page(driver.chrome, address, driver.downloads).open()
    assert driver.chrome.get_log("browser") == []
    for one in driver.chrome.get_log("performance"):
        message = json.loads(one["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            assert message["params"]["request"]["url"].startswith((address, f"blob:{address}"))


@pytest.fixture
def photograph(tmp_path):
    """A photograph of 40 x 30 pixels, stored on its side, brighter to the right and below."""
    values = np.add.outer(np.arange(30) * 3, np.arange(40) * 4).astype("uint8")
    values[-1, 0] = 255  # Upright the first pixel: the recogniser's sign of an X-ray.
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "doe.png"
    Image.fromarray(values).save(path, exif=exif)
    return path


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image), dict(image.getexif())


def test_the_mask_is_the_servers_at_each_threshold(page, photograph):
    content = photograph.read_bytes()
    assert "xray, recognised with a confidence of 100 %" in page.choose(photograph)
    expected, exif = pixels(page.segment(content, "modality=xray&output=png"))
    assert exif == {0x0112: 6}
    np.testing.assert_array_equal(page.mask, np.rot90(expected, -1) > 0)
    page.set("threshold", 30)
    expected, _ = pixels(page.segment(content, "modality=xray&output=png&threshold=0.3"))
    np.testing.assert_array_equal(page.mask, np.rot90(expected, -1) > 0)  # Of the page's own.
    page.wait_after(lambda: page.set("threshold", 30, "change"))
    np.testing.assert_array_equal(page.mask, np.rot90(expected, -1) > 0)
    area = np.count_nonzero(expected)
    share = 100 * area / expected.size
    assert f"{area:,} pixels ({share:.0f} %), 1 object" in page.of("targets").text
    stored, exif = pixels(page.saved("save-mask", "doe_mask.png"))
    np.testing.assert_array_equal(stored, expected)
    assert exif == {0x0112: 6}
    overlay, _ = pixels(page.saved("save-overlay", "doe_overlay.png"))
    assert overlay.shape[:2] == (40, 30)
    page.set("opacity", 0)
    assert not page.mask.any()


def test_corrections_are_painted_undone_and_saved(page, photograph):
    page.choose(photograph)
    before = page.mask
    page.set("size", 5)
    page.tool("add")
    canvas = page.of("overlay")
    across, down = canvas.size["width"] / 30, canvas.size["height"] / 40

    def stroke(points):
        chain = ActionChains(page.driver, duration=0)
        for number, (x, y) in enumerate(points):
            right = round((x + 0.5 - 15) * across)
            chain.move_to_element_with_offset(canvas, right, round((y + 0.5 - 20) * down))
            if number == 0:
                chain.click_and_hold()
        chain.release().perform()

    stroke([(5, 8), (15, 8)])
    added = page.mask
    line = added & ~before
    assert line[8, 4:17].all()
    assert line[6:11, 5:16].all()
    assert not line[:6].any() and not line[11:].any()
    page.tool("erase")
    stroke([(25, 35)])
    erased = page.mask
    assert before[33:38, 23:28].all() and not erased[34:37, 24:27].any()
    np.testing.assert_array_equal(erased[:30], added[:30])
    count = f"{np.count_nonzero(erased):,} pixels"
    assert count in page.of("targets").text
    assert "3 objects" in page.of("targets").text  # The line, the lungs and the white pixel.
    page.of("undo").click()
    np.testing.assert_array_equal(page.mask, added)
    page.of("redo").click()
    np.testing.assert_array_equal(page.mask, erased)
    stored, _ = pixels(page.saved("save-mask", "doe_mask.png"))
    np.testing.assert_array_equal(np.rot90(stored, -1) > 0, erased)
    # What a person decided stays when the threshold changes.
    page.wait_after(lambda: page.set("threshold", 100, "input", "change"))
    line[0, 0] = True  # The white pixel, whose probability is 1.
    np.testing.assert_array_equal(page.mask, line & erased)
    page.of("undo").click()
    page.of("undo").click()
    assert np.count_nonzero(page.mask) == 1  # Waits for what is drawn next, as are the buttons.
    assert not page.of("undo").is_enabled()


def test_the_keyboard_is_enough(page, photograph):
    page.choose(photograph)
    before = page.mask

    def press(*keys):
        ActionChains(page.driver, duration=0).send_keys(*keys).perform()

    def undo():
        chain = ActionChains(page.driver, duration=0).key_down(Keys.CONTROL).send_keys("z")
        chain.key_up(Keys.CONTROL).perform()

    page.run("document.getElementById('file').focus()")
    reached = ["file"]
    while len(reached) < 30:
        press(Keys.TAB)
        found = page.driver.switch_to.active_element
        reached.append(found.get_attribute("id") or found.get_attribute("name") or found.tag_name)
        if reached[-1] == "save-overlay":
            break
    wanted = ["file", "overlay", "modality", "threshold", "opacity", "zoom", "contour", "tool"]
    assert [one for one in reached if one in wanted] == wanted
    page.run("document.getElementById('overlay').focus()")
    press("a", "[[[[[", " ", Keys.ARROW_LEFT, " ")
    assert page.of("size").get_attribute("value") == "5"
    added = page.mask & ~before
    assert added[20, 14:18].all()
    assert added[18, 11:14].all()  # Three pixels, half of the brush, to the left.
    assert page.of("cursor").is_displayed()
    undo()
    assert np.count_nonzero(page.mask & ~before) < np.count_nonzero(added)
    undo()
    np.testing.assert_array_equal(page.mask, before)
    press("e", Keys.ARROW_DOWN * 20, " ")
    assert not page.mask[-1, 12] and before[-1, 12]
    modality = page.of("modality")
    modality.send_keys("f")  # For fundus. Asks whether corrections are to be discarded.
    alert_is_present()(page.driver).dismiss()
    assert Select(modality).first_selected_option.text == "Recognise it"


def test_slices_of_a_volume_and_its_targets(page, tmp_path):
    values = np.zeros((16, 12, 3), "int16")
    for number in range(3):
        values[: 4 * number + 2, :, number] = 1000
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    Select(page.of("modality")).select_by_value("fundus")
    page.choose(path)
    assert page.of("slice-number").text == "slice 1 of 3"
    assert not page.of("before").is_enabled()
    assert "24 pixels (13 %), 144 mm²" in page.of("targets").text
    boxes = page.of("targets").find_elements("css selector", "input[type=checkbox]")
    assert page.mask.all()  # Disc is where vessels are not.
    boxes[1].click()
    assert page.mask.sum() == 24
    page.wait_after(page.of("after").click)
    assert page.mask.sum() == 72
    page.wait_after(lambda: page.of("overlay").send_keys(Keys.PAGE_DOWN))
    assert page.of("slice-number").text == "slice 3 of 3"
    assert page.mask.sum() == 120
    stored, _ = pixels(page.saved("save-mask", "scan_slice3_vessels_mask.png"))
    assert np.count_nonzero(stored) == 120
    content = page.saved("save-all", "scan_vessels_mask.nii.gz")
    (tmp_path / "mask.nii.gz").write_bytes(content)
    saved = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(), values > 0)


def test_light_dark_and_narrow(page, photograph):
    drop = """
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(arguments[0])], "doe.png"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    """
    page.wait_after(lambda: page.run(drop, list(photograph.read_bytes())))
    colours = set()
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        style = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        colours.add(tuple(page.run(style)))
    assert len(colours) == 2
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert page.run("return document.documentElement.scrollWidth") <= 390
    assert page.of("overlay").size["width"] > 250
    page.tool("add")
    before = page.mask
    box = page.of("overlay").rect
    finger = {"x": box["x"] + 0.8 * box["width"], "y": box["y"] + 0.2 * box["height"]}
    finger["y"] -= page.run("return scrollY")
    for kind, points in (("touchStart", [finger]), ("touchEnd", [])):
        touch = {"type": kind, "touchPoints": points}
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
    assert np.count_nonzero(page.mask & ~before) > 50
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_token_is_asked_for_and_kept_nowhere(driver, serve, photograph):
    page = Page(driver.chrome, serve(("bright", "dim"), token=TOKEN), driver.downloads)
    page.driver.get(page.address)
    page.until(lambda: page.of("token").is_displayed())
    assert not page.of("drop").is_displayed()
    assert not page.of("problem").text
    page.of("token").send_keys("wrong" * 4, Keys.ENTER)
    page.until(lambda: "token" in page.of("problem").text)
    page.of("token").clear()
    page.of("token").send_keys(TOKEN, Keys.ENTER)
    page.until(lambda: page.of("drop").is_displayed())
    Select(page.of("model")).select_by_value("dim")
    assert "xray" in page.choose(photograph)
    kept = page.run("return [document.cookie, localStorage.length, sessionStorage.length]")
    assert kept == ["", 0, 0]
    assert TOKEN not in page.driver.current_url
    page.driver.refresh()
    page.until(lambda: page.of("token").is_displayed())


def test_what_the_server_refuses_is_said_and_the_image_is_shown(driver, address, tmp_path):
    page = Page(driver.chrome, address, driver.downloads).open()
    path = tmp_path / "unclear.png"
    Image.fromarray(np.full((8, 9), 120, "uint8")).save(path)
    assert page.choose(path).startswith("The image was not recognised")
    assert page.of("stage").is_displayed() and not page.of("save").is_displayed()
    told = page.wait_after(lambda: Select(page.of("modality")).select_by_value("xray"))
    assert "xray, as you chose" in told
    page.driver.find_element("css selector", "summary").click()
    told = page.wait_after(lambda: page.of("intensity").send_keys("9", Keys.ENTER))
    assert told.startswith("Received the intensity '9'")
    page.of("intensity").clear()
    note = tmp_path / "note.png"
    note.write_text("no image")
    assert page.choose(note).startswith("The image is not an image")
