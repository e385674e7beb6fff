"""Notes about runs and ablations are kept as they were written."""

from __future__ import annotations

import pytest
import store_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import StoreError
from mmad.store.notes import MOST_LETTERS, add_note, edit_note, read_notes, remove_note
from mmad.store.store import Store


def test_notes_are_of_runs_and_of_ablations(store: Store) -> None:
    good, bad = samples.fill(store)
    name = store.ablations()[0].name
    add_note(store, name, "about all", ["pilot"])
    add_note(store, good[:12], "first", ["a", "#b", "a"])
    add_note(store, good[:12], "", ["later"])
    notes = read_notes(store)
    assert [(one.text, one.tags) for one in notes.of_run(good)] == [("first", ("a", "b")), ("", ("later",))]
    assert [one.line for one in notes.of_ablation(name)] == ["about all #pilot"]
    assert notes.of_run(bad) == ()
    members = store.ablations()[0].members
    assert [one.text for one in notes.about(good, members)] == ["first", "", "about all"]


def test_equal_notes_are_two(store: Store) -> None:
    good, _ = samples.fill(store)
    before = store.state()
    for _ in range(2):
        add_note(store, good, "again")
    assert len(read_notes(store).of_run(good)) == 2
    assert store.state() != before


def test_a_note_is_edited_at_its_place_and_removed(store: Store) -> None:
    good, _ = samples.fill(store)
    written = [add_note(store, good, text, ["a"]) for text in ("first", "second", "third")]
    states = [store.state()]
    edit_note(store, good, 1, "other")
    edit_note(store, good[:12], 2, "", ["b"])
    states.append(store.state())
    notes = read_notes(store).of_run(good)
    assert [(one.text, one.tags) for one in notes] == [("other", ("a",)), ("second", ("b",)), ("third", ("a",))]
    assert [one.moment for one in notes] == [one.moment for one in written]
    assert remove_note(store, good, 2).text == "second"
    states.append(store.state())
    assert [one.text for one in read_notes(store).of_run(good)] == ["other", "third"]
    assert len(set(states)) == 3  # a watched report is written again
    for change in (lambda: edit_note(store, good, 3, "x"), lambda: remove_note(store, good, 3)):
        with pytest.raises(StoreError, match="no note 3; choose 1 to 2"):
            change()
    with pytest.raises(StoreError, match="nothing to write"):
        edit_note(store, good, 1, "")


@pytest.mark.parametrize(
    ("text", "tags", "what"),
    [
        ("  ", (), "nothing to write"),
        ("x", ("two words",), "is no tag"),
        ("x", ("",), "is no tag"),
        ("x" * (MOST_LETTERS + 1), (), "10,001 characters"),
    ],
)
def test_what_is_no_note_is_refused(store: Store, text: str, tags: tuple[str, ...], what: str) -> None:
    good, _ = samples.fill(store)
    with pytest.raises(StoreError, match=what):
        add_note(store, good, text, tags)
    assert read_notes(store).of_run(good) == ()


def test_a_note_about_nothing_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no run"):
        add_note(store, "nothing/of/this", "x")


@settings(examples(13), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_text_is_read_as_it_was_written(store: Store, text: str) -> None:
    good = next((run.key for run in store.run_records()), None) or samples.fill(store)[0]
    if text.strip():
        add_note(store, good, text)
        assert read_notes(store).of_run(good)[-1].text == text.strip()
