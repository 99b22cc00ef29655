"""The explorer of a real study, clicked through in a browser as its reader would: from the overview to an example."""

import os
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import polars as pl
import pytest
from evident import ABROAD, MARKUP
from tessera.explorer.fits import name_of
from tessera.probes.verdicts import contrast, decide
from tessera.results.search import TestSplit
from tessera.study.grid import CELL

PLACE = "big/1/96/here"
SAE, HIDDEN = f"sae/{PLACE}/sum/none/none/logistic", "hidden/big/1/here/mean/logistic"


@pytest.fixture(scope="module")
def window() -> Iterator[browser.Browser]:
    with browser.browser() as one:
        yield one


@pytest.fixture
def page(evident, window) -> Iterator[browser.Browser]:
    """The explorer at its overview; no test may leave an error in its console, or have asked anybody for anything."""
    window.open("about:blank")
    window.open((evident / "results/explorer.html").as_uri())
    window.wait(lambda: ready(window), "the overview")
    yield window
    assert window.errors() == []
    assert window.run("return performance.getEntriesByType('resource').map(one => one.name)") == []


def ready(window) -> int:
    return int(window.run("return document.documentElement.dataset.ready ?? 0"))


def go(window, address: str) -> str:
    """Change the address and wait for the view; what it says."""
    before = ready(window)
    window.run("location.hash = arguments[0]", address)
    window.wait(lambda: ready(window) > before, address)
    assert window.run("return document.querySelector('.error')?.textContent ?? null") is None
    return window.text()


def follow(window, script: str) -> str:
    """Do something that changes the address; the address that it leads to."""
    before = ready(window)
    window.run(script)
    window.wait(lambda: ready(window) > before, script)
    return window.run("return location.hash")


def drawn(window) -> None:
    window.wait(lambda: window.run("return !!document.querySelector('.chart svg')"), "a figure")


def table(study: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(study / f"results/tables/{name}.parquet")


def shown(value: float) -> str:
    """A score as the page writes it."""
    return f"{value:.3f}".replace("0.", ".", 1).replace("-", "−")


def test_the_overview_has_the_question_the_primary_claim_and_what_to_doubt(page, evident):
    said = page.text()
    assert "Which SAE features of big classify acts, here and there best" in said
    (row,) = table(evident, "claims").filter(role="primary").rows(named=True)
    assert row["claim"] in said and row["verdict"] in said
    assert f"[{shown(row['difference_low'])}, {shown(row['difference_high'])}]" in said
    assert said.index("What to doubt, first") < said.index("Who classifies best?") < said.index("Every claim")
    for warning in table(evident, "warnings")["warning"]:
        assert warning in said
    assert PLACE in said[said.index("Which latents carry it?") :]


def test_a_reader_goes_from_the_grid_to_an_example_and_back(page, evident, tmp_path):
    """By clicks alone; screenshots are left beside the study."""
    shots = Path(os.environ.get("EXPLORER_SCREENSHOTS", tmp_path))
    page.click("grid")
    page.wait(lambda: "The grid" in page.text(), "the grid")
    drawn(page)
    (cell,) = table(evident, "cells").filter(features="sae", data="here", split="test").rows(named=True)
    assert shown(cell["cv_macro_f1"]) in page.text()
    mark = "document.querySelectorAll('.chart .mark-rect path')[1]"  # acts, here, there
    click = f"const one = {mark}; for (const kind of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'])"
    click += " one.dispatchEvent(new MouseEvent(kind, {bubbles: true}))"
    assert follow(page, click).startswith("#cell/sae/big/1/96/here")
    drawn(page)
    page.screenshot(shots / "cell.png")
    latent = follow(page, "document.querySelector('main a[href^=\"#latent/\"]').click()")
    assert latent.startswith("#latent/big/1/96/here/")
    number = int(latent.rpartition("/")[2])
    rows = table(evident, "shown_latents").filter(latent=number, data="here")
    assert rows["explanation"][0] in page.text() and rows["promoted"][0].split()[0] in page.text()
    contexts = table(evident, "contexts").filter(latent=number, data="here")
    assert page.run("return document.querySelectorAll('.context').length") == len(contexts)
    marks = contexts["activation"].list.len().fill_null(0).sum()
    assert 0 < page.run("return document.querySelectorAll('.context mark').length") <= marks
    page.screenshot(shots / "latent.png")
    example = follow(page, "document.querySelector('.context a[href^=\"#example/\"]').click()")
    assert example.startswith("#example/here/") and "What each contestant says" in page.text()
    page.screenshot(shots / "example.png")
    assert follow(page, "history.back()") == latent
    assert follow(page, "history.forward()") == example


def test_a_decision_is_the_sum_of_what_is_shown(page, evident):
    decisions = table(evident, "decisions").filter(pl.col("class") == pl.col("predicted"), data="here", split="test")
    row = decisions.row(0, named=True)
    go(page, f"#example/here/{row['example']}")
    values = page.run("""return [...document.querySelectorAll('main tbody tr')]
        .filter(one => one.querySelector('.bar'))
        .map(one => Number(one.cells[3].textContent.replace('−', '-')))""")
    assert sum(values) == pytest.approx(row["decision"], abs=1e-3 * len(values))


def test_a_comparison_says_what_the_claims_machinery_says(page, evident):
    predictions = table(evident, "predictions").filter(data="here", split="test")
    tested = TestSplit(predictions)
    cells = {name_of(one): tuple(one.values()) for one in predictions.select(CELL).unique().to_dicts()}
    sides = [tested.scored({repeat: [cells[name]] for repeat in tested.repeats}) for name in (SAE, HIDDEN)]
    expected = decide(contrast(*sides), 0.95)
    go(page, f"#compare?left={SAE}&right={HIDDEN}")
    said = page.run("return document.getElementById('difference').textContent")
    ends = f"[{shown(expected['difference_low'])}, {shown(expected['difference_high'])}]"
    assert f"{expected['difference']:+.3f}".replace("0.", ".", 1).replace("-", "−") in said and ends in said


def test_of_drawn_cells_in_repeats_the_interval_is_that_of_verdicts(page):
    """The statistics of numbers.js on made-up scores, against probes/verdicts.py."""
    generator = np.random.default_rng(0)
    scored, sides = [], []
    for draws in (3, 2):
        value_DR, influence_RG = 0.7 + 0.05 * generator.normal(size=(draws, 4)), 0.01 * generator.normal(size=(4, 30))
        scored.append(type("Side", (), {"value_DR": value_DR, "influence_RG": influence_RG, "drawn": frozenset()}))
        sides.append({"values": value_DR.tolist(), "influences": influence_RG.tolist()})
    expected = decide(contrast(*scored), 0.95)
    found = page.run(
        """return Promise.all([import('tessera/numbers.js'), import('tessera/data.js')]).then(async ([one, data]) => {
            const { overlap, reaches } = (await data.piece('study')).about;
            return one.contrast(...arguments[0], { paired: false, overlap, reaches });
        })""",
        sides,
    )
    assert found["difference"] == pytest.approx(expected["difference"], abs=1e-12)
    assert [found["low"], found["high"]] == pytest.approx(
        [expected["difference_low"], expected["difference_high"]], abs=1e-5
    )


def test_texts_are_text_and_tokens_stand_where_they_are(page, evident):
    contexts = table(evident, "contexts").filter(pl.col("stratum").is_not_null(), data="here")
    row = contexts.row(0, named=True)
    go(page, f"#latent/{PLACE}/{row['latent']}?whole=1")
    texts = page.run("return [...document.querySelectorAll('.context .said')].map(one => one.textContent)")
    assert row["text"] in texts and MARKUP in row["text"] and ABROAD in row["text"]
    assert page.run("return document.querySelectorAll('main script, main .said *:not(mark)').length") == 0
    marked = page.run("""return [...document.querySelectorAll('.context .said')].map(
        one => [one.textContent, [...one.querySelectorAll('mark')].map(token => token.textContent)])""")
    tokens = next(found for text, found in marked if text == row["text"])
    places = sorted({*zip(row["start"], row["end"], strict=True)})
    assert tokens == [row["text"][start:end] for start, end in places if end > start]
    assert page.run("return getComputedStyle(document.querySelector('.said')).unicodeBidi") == "plaintext"


def test_no_text_of_the_study_stands_in_the_page_as_it_is(evident):
    content = (evident / "results/explorer.html").read_text()
    assert MARKUP not in content and "alert(1)" not in content
    assert len(content) < 10_000_000 and list((evident / "results/explorer").glob("*.js")) == []


def test_every_view_opens(page, evident):
    for address, words in {
        "#latents": "Those that tell the classes best",
        "#latents/big/1/96/acts": "All that are listed",
        "#examples/acts": "Test examples of acts",
        f"#examples/here?cell={SAE}&only=wrong": "As ",
        "#transfer": "Source × target",
        "#tables": "A row per",
        "#tables/claims?words=SAE&sort=difference&down=1": "all tables",
        f"#cell/{HIDDEN}": "Calibration",
        "#grid?features=hidden states&x=data&y=pooling&metric=roc_auc": "roc auc",
    }.items():
        assert words.lower() in go(page, address).lower(), address


def test_every_table_is_there_to_sort_filter_and_copy(page, evident):
    go(page, "#tables/cells")
    cells = table(evident, "cells")
    column = "[...document.querySelectorAll('main th')].findIndex(one => one.textContent.startsWith('macro f1'))"
    head = f"document.querySelectorAll('main th')[{column}].querySelector('button')"
    assert "sort=macro_f1" in follow(page, f"{head}.click()")
    values = page.run(f"const at = {column}; return [...document.querySelectorAll('main tbody tr')].map("
                      "row => row.cells[at].firstChild.textContent)")  # fmt: skip
    assert values == [shown(value) for value in sorted(cells["macro_f1"])]
    page.run("""const box = document.querySelector('input[type=search]');
        box.value = 'tfidf'; box.dispatchEvent(new Event('input'))""")
    few = cells.filter(features="tfidf")
    assert page.run("return document.querySelectorAll('main tbody tr').length") == len(few)
    saved = page.run("""return new Promise(resolve => {
        URL.createObjectURL = content => { content.text().then(resolve); return '#' };
        [...document.querySelectorAll('main button')].find(one => one.textContent === 'save as csv').click();
    })""")
    assert pl.read_csv(saved.encode())["macro_f1"].to_list() == pytest.approx(few["macro_f1"].to_list())


def test_a_figure_is_saved_as_svg(page):
    drawn(page)
    saved = page.run("""return new Promise(resolve => {
        URL.createObjectURL = content => { content.text().then(resolve); return '#' };
        [...document.querySelectorAll('main button')].find(one => one.textContent === 'save as SVG').click();
    })""")
    assert saved.startswith("<svg") and "macro F1" in saved


def test_the_keyboard_alone_reaches_a_view(page):
    body = page.post("/element", using="css selector", value="body")
    element = next(iter(body.values()))
    for _ in range(3):  # past the link to the content and the overview
        page.post(f"/element/{element}/value", text="\ue004")
        focused = page.post("/execute/sync", script="return document.activeElement", args=[])
        element = next(iter(focused.values()))
    assert page.run("return document.activeElement.textContent") == "grid"
    page.post(f"/element/{element}/value", text="\ue007")
    page.wait(lambda: "The grid" in page.text(), "the grid")


def test_one_switch_blurs_texts_and_one_darkens(page):
    go(page, f"#examples/here?cell={SAE}")
    blur = "return getComputedStyle(document.querySelector('main .one')).filter"
    assert page.run(blur) == "none"
    page.click("blur texts and images")
    assert "blur" in page.run(blur)
    page.click("blur texts and images")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.click("dark colours")
    page.wait(lambda: page.run(ground) != light, "dark colours")
    page.click("light colours")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("#cell/no/such", "there is no cell no/such"),
        (f"#compare?left={SAE}&right=zzz", "there is no cell zzz"),
        (f"#compare?left={SAE}&right={SAE}", "left and right are the same cell"),
        (f"#compare?left={SAE}&right=sae/big/1/96/there/sum/none/none/logistic", "cells of one can be compared"),
        ("#example/here/999999", "here has no example 999999: they are numbered from 0 to 119"),
        (f"#latent/{PLACE}/95", "is not among those shown (config key evidence.ids asks for it)"),
        ("#%", "there is no view %"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(page, address, said):
    before = ready(page)
    page.run("location.hash = arguments[0]", address)
    page.wait(lambda: ready(page) > before, "the answer")
    assert said in page.run("return document.querySelector('.error').textContent")


def test_a_view_opens_from_an_address_that_was_sent(evident, window):
    window.open("about:blank")
    window.open((evident / "results/explorer.html").as_uri() + f"#compare?left={SAE}&right={HIDDEN}")
    window.wait(lambda: "Two cells compared" in window.text(), "what was sent")
