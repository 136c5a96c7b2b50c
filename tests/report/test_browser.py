"""The page in headless Chromium: silent, offline, sortable by mouse and keyboard, readable at every width."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emofuse.report import build_report

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=1</script>.jpg'


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (emofuse[test])")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium, or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(make_run(tmp_path_factory.mktemp("run"), rows=120, frames=40, names={4: HOSTILE}))


@dataclass
class Heard:
    """What a page said and asked for."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser, report: Path) -> Iterator[tuple[object, Heard]]:
    page, heard = browser.new_page(viewport={"width": 1280, "height": 900}), Heard()
    page.on("console", lambda message: heard.console.append(message.text))
    page.on("pageerror", lambda error: heard.console.append(str(error)))
    page.on("request", lambda request: heard.requests.append(request.url))
    page.goto(report.as_uri())
    yield page, heard
    page.close()


def display_uri(page) -> list[str]:
    return page.locator("#cards > li:visible .id").all_inner_texts()


def keys(page, name: str) -> list[float]:
    values = page.locator("#cards > li:visible").evaluate_all(
        f"cards => cards.map(card => Number(card.dataset.{name}))"
    )
    return [float(value) for value in values]


def test_silent_and_offline(opened, report: Path) -> None:
    _, heard = opened
    assert heard.console == []
    assert [url for url in heard.requests if not url.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("order", ["best", "uncertain", "disagree", "worst"])
def test_gallery_sorts(opened, order: str) -> None:
    page, heard = opened
    page.locator(f"input[value={order}]").check()
    found = keys(page, order)
    assert len(found) == 24
    assert found == sorted(found, reverse=True)
    assert "24 of" in page.locator("#sorted").inner_text()
    assert heard.console == []


def test_gallery_sorts_by_keyboard(opened) -> None:
    page, _ = opened
    before = display_uri(page)
    page.locator("input[name=order]:checked").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("input[name=order]:checked").get_attribute("value") == "best"
    assert page.locator("#sorted").inner_text().startswith("Smallest error")
    assert display_uri(page) != before
    page.keyboard.press("ArrowLeft")
    assert display_uri(page) == before


def test_more_images_move_the_focus_to_the_first_new_one(opened) -> None:
    page, _ = opened
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert len(display_uri(page)) == 48
    place = page.evaluate("[...document.querySelectorAll('#cards > li:not([hidden])')].indexOf(document.activeElement)")
    assert place == 24


def test_hostile_name_does_nothing(opened) -> None:
    page, _ = opened
    assert page.locator(".id", has_text="onerror").count() == 1
    assert page.title() != "1"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_sticks_out(browser, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def contrast(page, selector: str) -> float:
    """The WCAG 2 contrast of an element's words with the page."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    words = page.locator(selector).first.evaluate("e => getComputedStyle(e).color")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = sorted((luminance(words), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("selector", ["h1", ".quiet", "nav a", ".baseline td", ".panel svg text"])
def test_words_stand_out(browser, report: Path, scheme: str, selector: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report.as_uri())
    assert contrast(page, selector) >= 4.5
    page.close()


def test_without_scripts_every_image_is_there(browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#cards > li").count() == len(display_uri(page)) > 24
    assert not page.locator("#sorter").is_visible()
    context.close()


def test_prints(browser, report: Path) -> None:
    page = browser.new_page(viewport={"width": 690, "height": 900})
    page.goto(report.as_uri())
    assert len(page.pdf(format="A4")) > 50_000
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    page.close()
