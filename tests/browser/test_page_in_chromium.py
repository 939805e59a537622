"""The page of an experiment in a browser, opened from disk without any network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boostnerv.report.page import write_page
from tests.report.pages import write_results
from tests.report.results import anchor_points, model_points

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page with space")
    points = [*model_points(), *anchor_points()]
    write_results(points, folder)
    write_page(points, folder, None, folder / "report/index.html")
    return folder / "report/index.html"


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The page of one video, open; anything it asks for, and any error that it has, fails the test."""
    yield from opened(browser, file)


def opened(browser: Browser, file: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme="light", offline=True)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    wait_for(page, "[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)")
    yield page
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [file.as_uri()]
    assert errors == []
    context.close()


def wait_for(page: Page, expression: str) -> None:
    """Until the expression is true. The page's own policy forbids playwright's way of waiting, which needs eval."""
    deadline_s = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline_s, expression
        page.wait_for_timeout(50)


def column(page: Page, table: str, heading: str) -> list[str]:
    index = page.locator(f"#{table} th button").all_text_contents().index(heading)
    return page.locator(f"#{table} tbody tr td:nth-child({index + 1})").all_text_contents()


def test_it_shows_curves_and_videos(page: Page) -> None:
    assert page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64001e\"')")
    for plot in ("plot-psnr", "plot-ms-ssim", "plot-training-psnr", "plot-training-loss"):
        assert page.locator(f"#{plot} .scatterlayer .trace").count() >= 4, plot
    sizes = page.evaluate("[...document.querySelectorAll('video')].map((video) => [video.videoWidth, video.duration])")
    assert sizes == [[64, 0.32], [64, 0.32]]
    (ROOT / "build").mkdir(exist_ok=True)
    page.screenshot(path=ROOT / "build/page.png", full_page=True)


def test_a_heading_sorts_by_number_with_mouse_and_keyboard(page: Page) -> None:
    heading = page.locator("#table-quality th", has_text="file (bytes)")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    sizes = [int(text.replace(",", "")) for text in column(page, "table-quality", "file (bytes)")]
    assert sizes == sorted(sizes, reverse=True)
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    sizes = [int(text.replace(",", "")) for text in column(page, "table-quality", "file (bytes)")]
    assert sizes == sorted(sizes)
    page.locator("#table-quality th", has_text="float").locator("button").click()
    assert column(page, "table-quality", "float (dB)")[-8:] == ["–"] * 8
    assert page.locator("#table-quality [aria-sort=ascending]").count() == 0
    assert page.locator("#table-quality [aria-sort=descending]").count() == 1


def test_the_slider_moves_the_line_with_keys_and_pointer(page: Page) -> None:
    wipe, over = page.locator("input.wipe"), page.locator(".stage video").nth(1)
    assert "50%" in over.evaluate("(video) => video.style.clipPath")
    wipe.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert "60%" in over.evaluate("(video) => video.style.clipPath")
    # Not every chromium scrolls to what gets the focus, and curves above may still be drawn: `hover` waits for both.
    stage = page.locator(".stage")
    page.evaluate("document.querySelector('.stage').scrollIntoView({ behavior: 'instant', block: 'center' })")
    stage.hover(position={"x": 100, "y": 20})
    box = stage.bounding_box()
    assert box
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    assert wipe.input_value() == "80"
    assert "20%" in over.evaluate("(video) => video.style.clipPath")


def test_both_videos_step_and_play_together(page: Page) -> None:
    times = "[...document.querySelectorAll('.stage video')].map((video) => video.currentTime)"
    page.locator("input.wipe").focus()
    for _ in range(3):
        page.keyboard.press(".")
    assert page.evaluate(times) == pytest.approx([3.5 / 25, 3.5 / 25])
    assert page.locator(".frame").text_content() == "frame 4 of 8"
    page.keyboard.press(",")
    assert page.evaluate(times) == pytest.approx([2.5 / 25, 2.5 / 25])
    page.keyboard.press(" ")
    wait_for(page, "[...document.querySelectorAll('.stage video')].every((video) => !video.paused)")
    page.keyboard.press(" ")
    wait_for(page, "[...document.querySelectorAll('.stage video')].every((video) => video.paused)")


def test_space_plays_what_is_in_view_but_not_while_typing(page: Page) -> None:
    playing = "[...document.querySelectorAll('.stage video')].every((video) => !video.paused)"
    page.locator("#filter").focus()
    page.evaluate("document.querySelector('.stage').scrollIntoView({ behavior: 'instant' })")
    page.keyboard.press(" ")
    assert page.locator("#filter").input_value() == " "
    assert not page.evaluate(playing)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    wait_for(page, playing)
    page.keyboard.press(" ")
    wait_for(page, "[...document.querySelectorAll('.stage video')].every((video) => video.paused)")
    page.evaluate("document.querySelector('#made-with').scrollIntoView({ behavior: 'instant' })")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    page.wait_for_timeout(200)
    assert not page.evaluate(playing)


def test_what_is_compared_can_be_chosen(page: Page) -> None:
    left = page.locator(".choices select").first
    assert left.input_value() == "hnerv-boost-0.27M"
    left.select_option("source")
    wait_for(page, "[...document.querySelectorAll('.stage video')].every((video) => video.readyState >= 2)")
    assert page.locator(".tag.left").text_content() == "source"
    page.get_by_role("button", name="Swap the two videos").click()
    assert page.locator(".tag.right").text_content() == "source"


def test_dark_and_light(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    grid = "getComputedStyle(document.querySelector('#plot-psnr .ygrid')).stroke"
    before = [page.evaluate(background), page.evaluate(grid)]
    page.get_by_role("button", name="Dark").press("Enter")
    after = [page.evaluate(background), page.evaluate(grid)]
    assert all(one != other for one, other in zip(before, after, strict=True))
    page.get_by_role("button", name="Light").click()
    assert [page.evaluate(background), page.evaluate(grid)] == before


def test_a_run_is_found_from_its_row_and_rows_are_filtered(page: Page) -> None:
    page.locator("#table-quality a", has_text="nerv-boost-0.27M").last.click()
    # It opens on a later event, hashchange.
    wait_for(page, "document.querySelector('details.run[open]') !== null")
    run = page.locator("details.run[open]")
    assert run.count() == 1
    assert run.locator(".name").text_content() == "nerv-boost-0.27M"
    page.locator("#filter").fill("x265")
    assert page.locator("#table-quality tbody tr:visible").count() == 4


def test_it_fits_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    wait_for(page, "document.documentElement.scrollWidth === 400")


def test_a_table_that_goes_on_says_so_on_its_side(page: Page) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    around = "document.querySelector('#table-quality').closest('.scrolled').className"
    wait_for(page, f"{around} === 'scrolled'")
    page.set_viewport_size({"width": 400, "height": 800})
    wait_for(page, f"{around} === 'scrolled after'")
    page.evaluate("document.querySelector('#table-quality').parentElement.scrollLeft = 60")
    wait_for(page, f"{around} === 'scrolled after before' || {around} === 'scrolled before after'")


def test_no_table_is_cut_off_on_a_usual_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_timeout(200)
    wide = "[...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth + 1).length"
    assert page.evaluate(wide) == 0


def test_one_of_several_videos_is_chosen(browser: Browser, tmp_path: Path) -> None:
    points = [*model_points("a"), *model_points("b")[:2]]
    write_results(points, tmp_path)
    write_page(points, tmp_path, None, tmp_path / "index.html")
    for page in opened(browser, tmp_path / "index.html"):
        assert page.locator("#curves-note").text_content().startswith("Mean of 2 videos: a, b")
        page.locator("#video-choice").select_option("b")
        assert re.match(r"b: 16 frames", page.locator("#curves-note").text_content() or "")
        assert page.locator("#table-quality tbody tr:visible").count() == 2
        assert page.locator(".player h3").text_content().startswith("b, ")
