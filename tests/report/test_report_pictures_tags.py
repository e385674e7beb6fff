"""The tags of boxes are inside the picture and do not overlap."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mmad.report.picture_drawing import HEIGHT, Tag, _covered, place_tags, tag_words
from mmad.report.pictures import PanelBox

WIDTH, TALL = 512.0, 420.0
sides = st.tuples(st.floats(0, WIDTH - 1), st.floats(0, TALL - 1), st.floats(1, WIDTH), st.floats(1, TALL)).map(
    lambda s: (s[0], s[1], min(WIDTH, s[0] + s[2]), min(TALL, s[1] + s[3]))
)
outcomes = st.sampled_from(["right", "false", "missed"])
boxes = st.builds(PanelBox, st.integers(1, 14), sides, st.one_of(st.none(), st.floats(0, 1)), outcomes)


@given(st.lists(boxes, max_size=12))
def test_every_box_has_its_words_inside_the_picture(drawn: list[PanelBox]) -> None:
    tags = place_tags(drawn, WIDTH, TALL)
    assert [tag.words for tag in tags] == [tag_words(one) for one in drawn]
    for tag in tags:
        assert 0 <= tag.x <= WIDTH - tag.width
        assert 0 <= tag.y <= TALL - HEIGHT


def test_tags_of_overlapping_boxes_do_not_overlap() -> None:
    same = [PanelBox(n, (100.0, 150.0, 250.0, 300.0), 0.5, "false") for n in range(1, 11)]
    assert not any(_covered(a, b) for a, b in itertools.combinations(place_tags(same, WIDTH, TALL), 2))


def test_a_tag_is_at_its_box_where_there_is_room() -> None:
    far = [
        PanelBox(1, (20.0, 100.0, 120.0, 200.0), 0.81, "right"),
        PanelBox(2, (300.0, 300.0, 400.0, 400.0), None, "missed"),
    ]
    first, second = place_tags(far, WIDTH, TALL)
    assert first == Tag("1 0.81", 20.0, 100.0 - HEIGHT, first.width)
    assert (second.words, second.x, second.y) == ("2 missed", 300.0, 300.0 - HEIGHT)
