"""The forms of a log, on made-up snippets."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base.errors import SpecError
from mmad.experiment_log.model import Log, LogEntry
from mmad.experiment_log.parser import UnreadableError, read_log, read_log_file, read_number, read_value
from mmad.experiment_log.shipped import Library


def name(val_ap: int = 3000, test_ap: int = 2000, epoch: int = 7, setup: str = "x", with_: str = "With") -> str:
    """A checkpoint's name as the author's program writes it."""
    return (
        f"val_ar_0_5000_ap_0_{val_ap:04d}_test_ar_0_4000_ap_0_{test_ap:04d}_epoch{epoch}_{with_}Clincal"
        f"_05-19-2023 22-13-26_{setup}"
    )


def entries(text: str) -> tuple[LogEntry, ...]:
    return read_log(text).entries


def only(text: str) -> LogEntry:
    (entry,) = entries(text)
    return entry


def test_a_constructor_with_comments() -> None:
    entry = only(
        "## One\n```\nmodel_setup = ModelSetup(\n    name='a(b, c',  # was [d]\n    # lr=1e-4,\n    lr=1e-3, # faster\n"
        "    milestones=[10 , 30],\n    unheard_of = .5 ,\n),\n```\n"
    )
    assert entry.setup is not None
    assert (entry.setup.form, entry.setup.line) == ("constructor", 3)
    assert entry.fields == {"name": "a(b, c", "lr": 0.001, "milestones": [10, 30], "unheard_of": 0.5}
    assert entry.setup.comments == {"name": "was [d]", "lr": "faster"}
    assert entry.setup.commented_out == ("lr=1e-4,",)
    assert entry.unread == ()
    assert (entry.line, entry.line_end) == (1, 10)


def test_a_repr_wins_over_a_commented_setup_beside_it() -> None:
    entry = only(
        "# ModelSetup(\n#     name='a', # [b]\n#     # lr=1,\n# )\n\n====For Training [b]====\n"
        "ModelSetup(name='b', path=None) ======\n"
    )
    assert (entry.fields, entry.title) == ({"name": "b", "path": None}, "b")
    assert [(other.form, other.fields, other.commented_out) for other in entry.other_setups] == [
        ("commented", {"name": "a"}, ("lr=1,",))
    ]


def test_values_that_are_no_literals_are_listed() -> None:
    entry = only("ModelSetup(base, a=2 * 3, b=nan, c=1e999, d={1: 2}, e='ok', e='twice', f=b'x', **more)")
    assert entry.fields == {"e": "ok"}
    assert [note.text for note in entry.unread] == [
        *("base", "a=2 * 3", "b=nan", "c=1e999", "d={1: 2}", "e='twice'", "f=b'x'", "**more")
    ]


def test_a_setup_that_is_never_closed_takes_its_own_lines() -> None:
    log = read_log("## One\nModelSetup(\n    a=1,\n    b=2\nthen words\n## Two\nit failed\n")
    assert log.entries[0].fields == {"a": 1, "b": 2}
    assert [(n.line, n.text) for n in log.unread] == [(2, "not closed: ModelSetup(")]
    assert [n.text for n in log.entries[0].notes] == ["then words"]
    assert log.entries[1].heading == "## Two"


def test_a_word_with_brackets_in_a_heading_is_a_heading() -> None:
    log = read_log("## A new ModelSetup() form\n```\n[model]: 12\n```")
    assert log.entries[0].heading == "## A new ModelSetup() form"
    assert log.entries[0].setup is None


def test_counts_with_remarks_on_one_line_or_many() -> None:
    entry = only(
        "```\n[model]: 1,234,567 [model.a]: 12\n[model.b_c.d]: 1000 # most\n[model.e]: 1,23 \n[model.a]: 13\n"
        "[model.f]: 1 040 729\n[model.g]: 1'040'729\n```"
    )
    assert entry.params == {"model": 1_234_567, "model.a": 12, "model.b_c.d": 1000}
    assert entry.params_comments == {"model.b_c.d": "most"}
    unread = ["[model.e]: 1,23", "[model.a]: 13", "[model.f]: 1 040 729", "[model.g]: 1'040'729"]
    assert [note.text for note in entry.unread] == unread


def test_counts_that_come_again_begin_another_entry() -> None:
    first, second = entries("## One\n```\n[model]: 1\n```\n```\n[model]: 2\n```\n")
    assert (first.params, second.params) == ({"model": 1}, {"model": 2})
    assert (first.heading, second.heading, second.sections) == ("## One", None, ("## One",))


def test_results_of_all_labels() -> None:
    entry = only(
        f"```\nBest AP validation model has been saved to: [{name()}] Best AR validation model has been saved to: "
        f"[{name(2500, epoch=9)}]\nThe final model has been saved to: [{name(1000, epoch=100)}] =====\n"
        f"Best F1 validation model has been saved to: [{name(epoch=3)}]\n```"
    )
    assert {kind: result.epoch for kind, result in entry.results.items()} == {
        **{"best_ap": 7, "best_ar": 9, "final": 100, "best_f1": 3}
    }
    best = entry.results["best_ap"]
    assert (best.val_ap, best.val_ar, best.test_ap, best.test_ar) == (0.3, 0.5, 0.2, 0.4)
    assert (best.stamp, best.clinical, best.name, best.line) == ("2023-05-19T22:13:26", "With", "x", 2)


def test_a_lone_checkpoint_is_unlabelled_and_odd_ones_are_listed() -> None:
    entry = only(f"## One\n```\n{name(with_='Without')}\n```\nThe final model has been saved to: [elsewhere.pt]\n")
    assert entry.results["unlabelled"].clinical == "Without"
    assert [note.line for note in entry.unread] == [5]
    impossible = name().replace("05-19-2023", "19-45-2023")
    assert read_log(f"## One\n{impossible}\n![p](q)").unread[0].text == impossible


def test_figures_of_headings() -> None:
    entry = only(
        f"## lr = 1e-4 (a remark) (v= 0.1000,, best_t=0.2000) (4076) (weight_decay=1e-1) (patience = 1) (v=0,41)\n```\n"
        f"Best AP validation model has been saved to: [{name()}]\n```"
    )
    found = [(f.key, f.value, f.scaled, f.equals) for group in entry.figures for f in group.figures]
    assert found == [
        ("v", 0.1, False, ()),
        ("best_t", 0.2, False, ("best_ap.test_ap",)),
        (None, 0.4076, True, ()),
    ]


def test_figures_on_a_line_of_their_own() -> None:
    first, second = entries(
        "## One (0.3000, 0.2000)\n```\nFor Training [a]\n[model]: 1\n```\n\n```\n\n(0.1000, 0.2000)\nFor Training [b]\n"
        f"Best AP validation model has been saved to: [{name(1000)}]\n```\n"
    )
    assert [group.raw for group in first.figures] == ["(0.3000, 0.2000)"]
    assert [f.equals for f in second.figures[0].figures] == [("best_ap.val_ap",), ("best_ap.test_ap",)]
    assert (second.title, second.line) == ("b", 7)


def test_loss_weights_of_an_entry_and_of_a_section() -> None:
    snippet = (
        'loss_dict["loss_a"] *= 10\n# loss_dict["loss_a"] *= 3\nloss_dict["loss_b"] = loss_dict["loss_b"].detach()'
    )
    text = f"# Part\n## Weights\n```\n{snippet}\n```\n## A\nModelSetup(a=1)\n## B\n```\n"
    a, b, c = entries(
        f"{text}loss_dict['c'] = loss_dict['c'] * .5\nModelSetup(a=2)\n```\n# Other\n## C\nModelSetup(a=3)\n"
    )
    assert a.losses is not None
    assert (a.losses.weights, a.losses.scope) == ({"loss_a": 10, "loss_b": "detach"}, "section")
    assert a.losses.commented_out == {"loss_a": 3}
    assert b.losses is not None
    assert (b.losses.weights, b.losses.scope) == ({"c": 0.5}, "entry")
    assert c.losses is None


def test_loss_weights_that_hold_for_no_entry_are_listed() -> None:
    log = read_log('# Part\n## Weights\nloss_dict["loss_a"] *= 10\n# Other\n## C\nModelSetup(a=3)\n')
    assert [(note.line, note.text) for note in log.unread] == [(3, 'loss_dict["loss_a"] *= 10')]


def test_what_is_commented_out_is_read_and_marked() -> None:
    first, second = entries("## One\nModelSetup(a=1)\n<!-- ====For Training [b]====\nModelSetup(a=2)\n -->\nafter\n")
    assert (first.in_comment, first.fields, second.in_comment, second.fields) == (False, {"a": 1}, False, {"a": 2})
    assert only("<!-- ModelSetup(a=2)\n -->").in_comment


def test_prose_tells_where_another_experiment_begins() -> None:
    log = read_log(
        "# Title\nwords\n![a](1)\n# Part\nwhat we did\n![a](2)\nit was bad\n![b](3)\nthe figure above is better\n"
        "[model]: 5\n\nThe next experiment is this\n![c](4)\n\nAnd another,\nModelSetup(a=1)\n## Two\nfailed to run\n"
    )
    assert [list(entry.images) for entry in log.entries] == [["2"], ["3"], ["4"], [], []]
    assert [note.text for note in log.prose] == ["words"]
    assert log.images == ("1",)
    assert log.entries[1].params == {"model": 5}
    assert log.entries[4].notes[0].text == "failed to run"


def test_tables_and_remarks() -> None:
    log = read_log("## Questions\nQ: why?\nE1: try it\nL12: no\n|  |A|\n|--|:-:|\n|x=1|0.5|\n")
    assert log.entries == ()
    assert [(r.kind, r.number, r.text) for r in log.remarks] == [
        ("Q", None, "why?"),
        ("E", 1, "try it"),
        ("L", 12, "no"),
    ]
    assert [(t.line, t.columns, t.rows) for t in log.tables] == [(5, ("", "A"), (("x=1", "0.5"),))]


def test_lines_of_the_program_broken_before_their_last_word() -> None:
    entry = only("```\nFor Training [a]\nLoad custom model Using pretrained backbone.\nmobilenet_v3 \nx = 1\n```")
    assert [note.text for note in entry.log_lines] == ["Load custom model Using pretrained backbone.", "mobilenet_v3"]
    assert [(note.line, note.text) for note in entry.unread] == [(5, "x = 1")]


def test_a_fence_that_is_never_closed_swallows_nothing() -> None:
    log = read_log("## One\n```\n[model]: 1\n```\n```\n## Two\n[model]: 2\n")
    assert [entry.heading for entry in log.entries] == ["## One", "## Two"]
    assert [note.line for note in log.unread] == [5]


def test_line_ends_and_marks_of_other_systems() -> None:
    log = read_log("\ufeff## One\r\nModelSetup(a=1)\r\n")
    assert log.entries[0].fields == {"a": 1}
    assert read_log("").entries == ()


@pytest.mark.parametrize("text", ["1 + 1", "x", "{1, 2}", "(1, b'')", "'a", "1" * 5000, "[" * 300, "", "1j"])
def test_what_json_cannot_hold_is_no_value(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_value(text)


def test_values_and_numbers() -> None:
    assert read_value("(1, [2.5, 'x'], {'a': None})") == [1, [2.5, "x"], {"a": None}]
    assert read_value(r"'C:\data'") == r"C:\data"
    assert [read_number(text) for text in ("10", "1e-5", ".5", "-2.", "1e999", "1_0", "x")] == [
        *(10, 1e-5, 0.5, -2.0, None, None, None)
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_log_file(tmp_path / "none.md")
    (tmp_path / "latin.md").write_bytes(b"\xe4")
    with pytest.raises(SpecError, match=r"is no UTF-8 text \(byte 0\)"):
        read_log_file(tmp_path / "latin.md")
    (tmp_path / "log.md").write_text("", "utf-8")
    with pytest.raises(SpecError, match=r"log\.md: holds no entry; name the Markdown file"):
        read_log_file(tmp_path / "log.md")
    (tmp_path / "log.md").write_text("ModelSetup(a=1)", "utf-8")
    assert (read_log_file(tmp_path / "log.md").name, read_log_file(tmp_path / "log.md", "mine").name) == ("log", "mine")


@pytest.fixture
def library() -> Library:
    def log(name: str) -> Log:
        found = read_log("## A\nModelSetup(a=1)\n" * 102, name)
        content, entries_json = found.to_json()
        assert Log.from_json(name, content, entries_json) == found
        return found

    return Library.of([log("one"), log("two")])


def test_entries_are_found_by_log_and_id(library: Library) -> None:
    assert library.find("e030").log == "documented"
    assert library.find("two/e030").entry.fields == {"a": 1}
    for word, told in (
        ("e102", r"entry: e102 is more than one entry; name one of one/e102, two/e102"),
        ("tow/e001", r"entry: there is no log 'tow'; did you mean two\?"),
        ("one/e103", r"entry: there is no entry one/e103; did you mean one/e10\d\?"),
        ("", r"entry: there is no entry ''; mmad log list shows them all"),
    ):
        with pytest.raises(SpecError, match=f"^{told}$"):
            library.find(word)
