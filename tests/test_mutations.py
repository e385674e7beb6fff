"""One byte of whatever decides a result is changed: each time there is another key, or a refusal.

A file keeps its size and its times, as after a restored backup or a copied folder, so that nothing that trusts these
sees the change. Changes that decide nothing leave every key as it was.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmad.api.loading import load_with_data, read_anew
from mmad.base.errors import MmadError
from mmad.config.field_effects import idle_because
from mmad.config.protocol import Fold
from mmad.config.runs import Ablation, RunSpec
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.data.samples import samples

LONG = settings.default.max_examples > 100
#: A few hundred, and 10,000 in ``make test-long``.
MUTATIONS = settings(max_examples=10_000 if LONG else 300)
FEWER = settings(max_examples=1000 if LONG else 60)

FILE = """title = "Mutations"
description = "Every kind of field."   # a comment
data = "data"

[setup]
backbone = "resnet18"
image_size = 64
lr = 0.01
batch_size = 2
anchor_sizes = [16, 32]
clinical_input_channels = 16
fusion_strategy = "add"
optimiser = "adamw"
loss_weights = { loss_classifier = 10, loss_box_reg = 5, loss_objectness = 1.5, loss_rpn_box_reg = 0.25 }

[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true

[[settings]]
name = "deep"
fuse_depth = 2
[[settings]]
name = "scratch"
pretrained = false
lr_scheduler = "ReduceLROnPlateau"
reduceLROnPlateau_patience = 5

[protocol]
epochs = 4
seeds = [0, 1]
weights = "own.pth"
"""

Content = Literal["file", "weights", "image", "studies.csv", "boxes.csv", "dataset.toml"]
CONTENTS: tuple[Content, ...] = ("file", "weights", "image", "studies.csv", "boxes.csv", "dataset.toml")


@dataclass(frozen=True)
class World:
    """An ablation file with its weights and its data set; ``before`` is what it expands to."""

    folder: Path
    images: tuple[Path, ...]
    before: Ablation

    @property
    def file(self) -> Path:
        return self.folder / "family.toml"

    def path(self, content: Content, place: int) -> Path:
        if content == "image":
            return self.images[place % len(self.images)]
        return {"file": self.file, "weights": self.folder / "own.pth"}.get(content, self.folder / "data" / content)


def expanded(file: Path) -> Ablation:
    """As ``mmad ablate`` reads it."""
    ((ablation, _),) = read_anew([load_with_data(file, data=None)])
    return ablation


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("mutations")
    (folder / "family.toml").write_text(FILE)
    (folder / "own.pth").write_bytes(random.Random(0).randbytes(2000))
    make_phantom(folder / "data", studies=12, image_size=64)
    for path in folder.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))  # long enough ago for whatever is remembered
    before = expanded(folder / "family.toml")
    assert not any(member.run.provisional for member in before.members)
    return World(folder, tuple(sorted((folder / "data").rglob("*.png"))), before)


def changed(path: Path, place: int, flip: int) -> Callable[[], None]:
    """Flips bits of one byte of ``path``, whose size and times stay; what puts it back."""
    state, content = path.stat(), path.read_bytes()
    place %= len(content)
    path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    def back() -> None:
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    return back


def deciding(mine: RunSpec, theirs: RunSpec) -> bool:
    """Whether two runs differ in a field that is not idle in both, read off their models one by one."""
    parts = [((mine.setup, mine.protocol), (theirs.setup, theirs.protocol))]
    for ours, others in parts:
        for one, other in zip(ours, others, strict=True):
            for name, field in type(one).model_fields.items():
                if name in NAMES or getattr(one, name) == getattr(other, name):
                    continue
                if idle_because(field, ours) is None or idle_because(field, others) is None:
                    return True
    return mine.data.fingerprint != theirs.data.fingerprint


#: Names and places, which decide nothing; ``replicate`` counts and is no field with effects.
NAMES = {"name", "best_ar_val_model_path", "best_ap_val_model_path", "final_model_path", "weights"}


@pytest.mark.slow
@MUTATIONS
@example(content="image", place=900, flip=1)
@example(content="boxes.csv", place=100, flip=1)
@example(content="weights", place=1999, flip=128)
@given(content=st.sampled_from(CONTENTS), place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_no_byte_that_decides_a_result_can_change_under_a_key(
    world: World, content: Content, place: int, flip: int
) -> None:
    back = changed(world.path(content, place), place, flip)
    try:
        after = expanded(world.file)
    except MmadError:
        return  # refused
    finally:
        back()
    if content == "file":
        before = {(m.setting, m.arm, m.seed, m.replicate): m.run for m in world.before.members}
        for member in after.members:
            old = before.get((member.setting, member.arm, member.seed, member.replicate))
            if old is not None:
                assert (member.run.key != old.key) is deciding(member.run, old), (member.setting, member.arm)
        return
    pairs = zip(world.before.members, after.members, strict=True)
    uses = [(old, new) for old, new in pairs if content != "weights" or not old.run.from_scratch]
    assert uses
    for old, new in uses:
        assert new.run.key != old.run.key


@pytest.mark.slow
@FEWER
@given(seed=st.integers(0, 10**9), content=st.sampled_from(("image", "studies.csv", "boxes.csv", "dataset.toml")))
def test_a_worker_refuses_what_changed_after_it_was_queued(world: World, seed: int, content: Content) -> None:
    from mmad.training.device import open_dataset

    random_ = random.Random(seed)
    run, place = world.before.members[0].run, random_.randrange(10**6)
    path = Path(run.data.path)
    back = changed(world.path(content, place), place, random_.randrange(1, 256))
    with contextlib.suppress(MmadError):
        load_with_data(world.file, data=None)  # a plan, which may remember
    try:
        with pytest.raises(MmadError):
            open_dataset(run, path)
    finally:
        back()


def test_the_worker_takes_what_did_not_change(world: World) -> None:
    from mmad.training.device import open_dataset

    run = world.before.members[0].run
    assert open_dataset(run, Path(run.data.path)).studies


def test_the_worker_takes_the_splits_of_its_fold(world: World) -> None:
    from mmad.training.device import open_dataset

    run, fold = world.before.members[0].run, Fold(number=1, of=2)
    folded = replace(run, protocol=run.protocol.model_copy(update={"fold": fold}))
    path = Path(run.data.path)
    assert open_dataset(folded, path).studies == samples(load_dataset(path), run.setup.dataset_mode, fold).studies


#: Words in the file that decide nothing.
HARMLESS = (
    ('title = "Mutations"', 'title = "Others"'),
    ("# a comment", "# another comment"),
    ("lr = 0.01", "lr = 1e-2"),
    ("batch_size = 2", "batch_size=2"),
    ("loss_classifier = 10,", "loss_classifier = 10.0,"),
    ("[arms.CXR]\n", '[arms.CXR]\nname = "of another name"\n'),
    ("use_clinical = false\n", "use_clinical = false\nfusion_strategy = 'concat'\nclinical_input_channels = 32\n"),
    ("pretrained = false\n", "pretrained = false\nmultiStepLR_milestones = [1, 2]\n"),
)


@pytest.mark.slow
@FEWER
@given(chosen=st.sets(st.sampled_from(HARMLESS)), moved=st.booleans(), order=st.randoms(use_true_random=False))
def test_changes_that_decide_nothing_leave_every_key(
    world: World, chosen: set[tuple[str, str]], moved: bool, order: random.Random
) -> None:
    text = FILE
    for old, new in sorted(chosen):
        assert old in text
        text = text.replace(old, new)
    tables = text.split("\n\n")
    head, rest = tables[0], tables[1:]
    order.shuffle(rest)
    tomllib.loads(text := "\n\n".join([head, *rest]))
    place = world.folder
    if moved:
        place = world.folder.with_name("moved")
        if not place.exists():
            shutil.copytree(world.folder, place)
    file = place / "again.toml"
    file.write_text(text)
    after = expanded(file)
    keys: Any = {(m.setting, m.arm, m.seed): m.run.key for m in world.before.members}
    assert {(m.setting, m.arm, m.seed): m.run.key for m in after.members} == keys
