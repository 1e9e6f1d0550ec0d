"""What people do with the page: roll back, use keys alone, a phone, a dark screen, a token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engram_server import EngramServer
from page import Page, in_percent, number
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from teacher import TREES, Teacher, small_spec, teach_two_tasks, teach_with_checkpoint

NewTeacher = Callable[..., Teacher]


def ask_to_roll_back(page: Page, checkpoint: str) -> None:
    """Clicks the button of that checkpoint; the dialog is open afterwards."""
    button = page.until(lambda: page.one(f"#checkpoints button[value='{checkpoint}']"))
    button.click()
    page.until(lambda: page.one("#rollback").is_displayed())


def press(page: Page, *keys: str) -> None:
    ActionChains(page.browser).send_keys(*keys).perform()


def focused(page: Page, what: str = "id") -> str:
    return page.browser.switch_to.active_element.get_attribute(what) or ""


def test_a_click_rolls_back_after_saying_what_it_undoes(
    page: Page, new_teacher: NewTeacher
) -> None:
    teacher = new_teacher("rollback")
    kept = teach_with_checkpoint(teacher)
    before = teacher.version()
    after_pets = teacher.report().rows[0].cells[0].accuracy
    page.open("rollback")

    ask_to_roll_back(page, kept)
    plan = page.text("#rollback-facts")
    assert "Roll rollback back to pets-only?" == page.text("#rollback-title")
    assert "240, of the log's" in plan
    assert "1: trees" in plan
    press(page, Keys.ESCAPE)
    page.until(lambda: not page.one("#rollback").is_displayed())
    assert teacher.version() == before, "asking what would be undone undid something"

    ask_to_roll_back(page, kept)
    page.one("#rollback-confirm").click()
    page.until(lambda: not page.one("#rollback").is_displayed())
    page.until(lambda: number(page.fact("Version")) == teacher.version() > before)
    report = teacher.report()
    assert report.rollbacks[0].dropped_examples == 240
    assert report.rows[1].undone_by == teacher.version()
    page.until(lambda: "undone" in page.table("#matrix")[2][0])
    pets = report.tasks[0].accuracy
    assert pets == after_pets
    assert number(page.table("#tasks")[1][1]) == in_percent(pets)
    assert "Rolled back to pets-only" in page.text("#events")
    page.keep_picture("rolled_back")


def test_a_rollback_asks_again_when_the_model_has_learned_on(
    page: Page, new_teacher: NewTeacher
) -> None:
    teacher = new_teacher("moving")
    kept = teach_with_checkpoint(teacher)
    page.expected_errors = ("409",)
    page.open("moving")
    ask_to_roll_back(page, kept)
    teacher.learn(TREES, rows=10)
    teacher.settle()
    page.one("#rollback-confirm").click()
    page.until(lambda: "learned on since" in page.text("#rollback-note"))
    assert "260, of the log's" in page.text("#rollback-facts")
    assert not teacher.report().rollbacks
    teacher.learn(TREES, rows=10)
    teacher.settle()
    page.one("#rollback-anyway").click()
    page.one("#rollback-confirm").click()
    page.until(lambda: not page.one("#rollback").is_displayed())
    assert teacher.report().rollbacks[0].dropped_examples == 280


def test_keys_reach_everything(page: Page, new_teacher: NewTeacher) -> None:
    teacher = new_teacher("keys")
    kept = teach_with_checkpoint(teacher)
    page.open("keys")
    page.until(lambda: page.one(f"#checkpoints button[value='{kept}']"))
    reached = []
    for _ in range(60):
        press(page, Keys.TAB)
        reached.append(focused(page) or focused(page, "value") or focused(page, "class"))
        outline = page.script("return getComputedStyle(document.activeElement).outlineWidth")
        assert outline != "0px", f"{reached[-1]}: the focus is not seen"
        if reached[-1] == kept:
            break
    order = ["skip", "model", "pause", "class", "matrix", kept]
    assert [stop for stop in reached if stop in order] == order, reached
    press(page, Keys.ENTER)
    page.until(lambda: page.one("#rollback").is_displayed())
    assert focused(page) == "rollback-cancel"  # what undoes nothing comes first
    press(page, Keys.TAB)
    assert focused(page) == "rollback-confirm"
    press(page, Keys.ESCAPE)
    page.until(lambda: not page.one("#rollback").is_displayed())
    assert focused(page, "value") == kept
    page.script("document.querySelector('.skip').focus()")
    press(page, Keys.ENTER)
    assert focused(page) == "main"
    assert page.script("return location.hash") == "#keys", "a reload would show another model"


def test_a_model_that_goes_makes_room_and_may_come_back(
    page: Page, new_teacher: NewTeacher
) -> None:
    new_teacher("bystander")
    doomed = new_teacher("doomed")
    teach_two_tasks(doomed)
    page.expected_errors = ("404",)
    page.open("doomed")
    seen = "return Chart.getChart('prequential').data.datasets[0].data.length"
    page.until(lambda: page.script(seen) > 0)
    doomed.delete()
    page.until(lambda: "There is no model doomed." in page.text("#notice"))
    page.until(lambda: "doomed" not in page.script("return document.title"))
    page.until(lambda: page.one("#content").is_displayed())
    assert page.one("#model").get_attribute("value") != "doomed"

    again = new_teacher("doomed")
    teach_two_tasks(again)
    page.until(lambda: page.script("return document.title").startswith("doomed "))
    assert not page.one("#notice").is_displayed()
    page.until(lambda: page.script(seen) > 0)
    page.one("#pause").click()
    again.delete()
    new_teacher("doomed")
    page.one("#pause").click()
    page.until(lambda: page.fact("Version") == "0")
    assert page.script(seen) == 0, "the past of a model that had the same name"


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_in_both_themes(page: Page, new_teacher: NewTeacher, dark: bool) -> None:
    teacher = new_teacher(f"theme-{dark}")
    teach_two_tasks(teacher)
    page.open(teacher.model, dark=dark)
    page.until(lambda: len(page.table("#matrix")) == 4)
    page.keep_picture("dark" if dark else "light")
    assert page.script(Path(__file__).with_name("contrast.js").read_text()) == {}


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(page: Page, new_teacher: NewTeacher, dark: bool) -> None:
    teacher = new_teacher(f"phone-{'with-a-name-as-long-as-names-may-be-' * 3}{dark}")
    kept = teach_with_checkpoint(teacher)
    page.open(teacher.model, width=360, height=740, dark=dark)
    page.until(lambda: len(page.table("#matrix")) == 4)
    assert page.script("return document.documentElement.scrollWidth") == 360
    page.keep_picture(f"phone_{'dark' if dark else 'light'}")
    ask_to_roll_back(page, kept)
    left, right = page.script(
        "const box = document.querySelector('#rollback').getBoundingClientRect();"
        "return [box.left, box.right]"
    )
    assert 0 <= left < right <= 360
    page.one("#rollback-cancel").click()


@pytest.fixture
def guarded_server(start_server: Callable[..., EngramServer], tmp_path: Path) -> EngramServer:
    """A server on loopback that knows two tokens, "reading" and "ruling"."""
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(
        "".join(
            f"{role} {role} {hashlib.sha256(token.encode()).hexdigest()}\n"
            for role, token in (("reader", "reading"), ("admin", "ruling"))
        )
    )
    return start_server(f'authentication {{ token_file: "{tokens}" }}')


@pytest.fixture
def guarded_page(browser: webdriver.Chrome, guarded_server: EngramServer) -> Iterator[Page]:
    shown = Page(browser, guarded_server.http_url)
    shown.expected_errors = ("401",)
    yield shown
    shown.close()


def give_token(page: Page, token: str) -> None:
    page.until(lambda: page.one("#token-form").is_displayed())
    page.one("#token").send_keys(token, Keys.ENTER)


def test_a_reader_sees_and_only_an_admin_rolls_back(
    guarded_page: Page, guarded_server: EngramServer
) -> None:
    page = guarded_page
    teacher = Teacher(guarded_server.grpc_address, "guarded", small_spec(40), token="ruling")
    kept = teach_with_checkpoint(teacher)
    page.open("guarded")
    assert page.link == "locked"
    give_token(page, "r€ading")  # no header can hold it
    page.until(lambda: "This is no token" in page.text("#token-why"))
    page.one("#token").clear()
    give_token(page, "wrong")
    page.until(lambda: "not accepted" in page.text("#token-why"))
    give_token(page, "reading")
    page.until(lambda: len(page.table("#matrix")) == 4)
    page.until(lambda: "Only an administrator" in page.text("#rollback-why"))
    assert page.one(f"#checkpoints button[value='{kept}']") is not None
    assert not any(button.is_displayed() for button in page.all("#checkpoints button"))

    page.one("#forget-token").click()
    give_token(page, "ruling")
    page.until(lambda: page.link == "live")
    ask_to_roll_back(page, kept)
    page.one("#rollback-confirm").click()
    page.until(lambda: not page.one("#rollback").is_displayed())
    assert teacher.report().rollbacks[0].dropped_examples == 240
    assert page.script("return sessionStorage.length + localStorage.length") == 1
    teacher.close()


def test_it_says_when_its_numbers_are_old(
    browser: webdriver.Chrome, start_server: Callable[..., EngramServer]
) -> None:
    server = start_server('models { name: "only" spec { feature_count: 2 } }')
    page = Page(browser, server.http_url)
    page.expected_errors = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    page.open("only")
    server.kill()
    page.until(lambda: page.link == "stale")
    page.until(lambda: page.link == "lost")
    assert "s old" in page.text("#link-text")
    assert page.fact("State") == "● serving"  # what was known stays readable
    server.start()
    page.until(lambda: page.link == "live")
    page.one("#pause").click()
    assert page.link == "paused"
    asked = len(page.requests())
    page.one("#pause").click()
    page.until(lambda: page.link == "live" and len(page.requests()) > asked)
    page.close()
