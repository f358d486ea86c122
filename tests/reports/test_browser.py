"""The page in a real browser: nothing is loaded, nothing jumps, nothing overflows, and what can be used works.

Needs chromium and chromedriver (Debian: ``apt-get install chromium chromium-driver``); skipped where there are none.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.page import render_page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not BROWSER or not DRIVER, reason="no browser: apt-get install chromium chromium-driver, then these tests run"
)

FLAGS = """--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-quic --disable-dev-shm-usage --hide-scrollbars"""
WIDTHS = (390, 900, 1440)
SHIFTS = """
window.shift = []; const told = (one) => one.node && `${one.node.nodeName} ${one.node.textContent.slice(0, 40)}`;
const seen = (one) => one.value > 0.001;  // a hundredth of what counts as good; a word drawn in two parts is less
new PerformanceObserver((list) => {
  for (const one of list.getEntries().filter(seen)) window.shift.push(one.sources.map(told));
})
  .observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHIFTS})
    yield browser
    browser.quit()


@pytest.fixture
def page(run, pictures, tmp_path) -> Path:
    file = tmp_path / "index.html"
    file.write_text(render_page(run, pictures | {"neighbours": pictures["final"]}), encoding="utf-8")
    assert file.stat().st_size <= 3_000_000
    return file


def show(driver: Any, page: Path, width: int = 1440, *, scheme: str = "light", media: str = "screen") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())


def tip(driver: Any) -> str | None:
    return driver.execute_script(
        "const tip = document.getElementById('tip'); return tip.hidden ? null : tip.innerText;"
    )


def settle(driver: Any) -> None:
    """Two frames: scroll events are told with the next one."""
    driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
    )


def key(driver: Any, name: str) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": name, "code": name})


def test_no_request_leaves_the_file_and_the_console_is_silent(driver, page):
    driver.get_log("performance")
    driver.get_log("browser")
    show(driver, page)
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_and_nothing_jumps(driver, page, width, scheme):
    show(driver, page, width, scheme=scheme)
    driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; });")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 10})  # what is slow is painted in parts
    show(driver, page, width, scheme=scheme)
    driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 100));")
    assert driver.execute_script("return window.shift") == []
    dark = driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize(("width", "size"), [(1440, "wide"), (390, "narrow")])
def test_pointing_at_a_mark_tells_its_knobs(driver, page, run, width, size):
    show(driver, page, width)
    one = next(one for one in run.candidates if one.outcome == "complete" and not one.finalist)
    script = """
        const mark = [...document.querySelectorAll(`#search .chart.${arguments[1]} .mark`)]
          .find((mark) => mark.dataset.tip.startsWith(arguments[0]));
        mark.scrollIntoView({ block: "center" });
        const box = mark.querySelector(".dot").getBoundingClientRect();
        const titles = document.querySelectorAll("svg title, main [title]").length;
        return [box.x + box.width / 2, box.y + box.height / 2, titles];
    """
    x, y, titles = driver.execute_script(script, one.id, size)
    settle(driver)
    assert tip(driver) is None
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    told = tip(driver)
    assert told is not None
    assert "FID" in told
    assert "width=" in told
    assert titles == 0, "the browser's own tooltip would stand beside ours"
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
    assert tip(driver) is None


def test_a_chart_is_one_stop_of_the_tab_key_and_arrows_walk_its_marks(driver, page):
    show(driver, page)
    stops = """return [...document.querySelectorAll("#search .chart.wide")]
        .map((one) => one.querySelectorAll('[tabindex="0"]').length)"""
    assert driver.execute_script(stops) == [1, 1, 1]
    driver.execute_script("document.querySelector('#search .chart.wide [tabindex=\"0\"]').focus();")
    settle(driver)
    first = tip(driver)
    key(driver, "ArrowRight")
    second = tip(driver)
    assert first
    assert second
    assert first != second
    assert driver.execute_script(stops) == [1, 1, 1]
    assert driver.execute_script("return document.activeElement.getAttribute('aria-label').split('\\n')[0]") in second
    key(driver, "Escape")
    assert tip(driver) is None


def test_the_copy_button_copies_its_command(driver, page, run):
    show(driver, page)
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    button = driver.find_elements("css selector", ".copy")[1]
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", button)
    button.click()
    read = """const done = arguments[0];
        setTimeout(() => navigator.clipboard.readText().then(done, (error) => done(String(error))), 50);"""
    assert driver.execute_async_script(read) == run.commands[1].command
    assert button.text == "Copied"


def test_every_link_of_the_page_leads_to_a_section(driver, page):
    show(driver, page)
    links = driver.find_elements("css selector", "nav a")
    assert len(links) == 10
    links[3].click()
    assert driver.execute_script("return location.hash") == "#search"
    top = driver.execute_script("return document.getElementById('search').getBoundingClientRect().top")
    assert 0 <= top < 100


def test_print_hides_what_cannot_be_used_on_paper(driver, page):
    show(driver, page, media="print")
    shown = (
        "return [...document.querySelectorAll('.copy, nav, #tip')].filter((one) => one.getClientRects().length).length"
    )
    assert driver.execute_script(shown) == 0
    show(driver, page)
    assert driver.execute_script(shown) > 0


def test_an_early_no_is_whole_too(driver, early_no, tmp_path):
    file = tmp_path / "no.html"
    file.write_text(render_page(early_no), encoding="utf-8")
    driver.get_log("browser")
    show(driver, file, 390)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert "try values below it" in driver.find_element("css selector", ".advice").text
    assert driver.get_log("browser") == []
