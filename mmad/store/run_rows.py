"""Ablations, members and runs as rows: what was asked for, and how far it is."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select, update

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.formatting import short_key
from mmad.base.records import HELD, AblationRecord, MemberRecord, RunRecord
from mmad.config.messages import nearest
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec, file_name
from mmad.config.setup import ModelSetup
from mmad.store.damage import find_damage, same_row
from mmad.store.engine import serialise
from mmad.store.schema import ablations, members, run_epochs, runs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
#: More keys than this are chosen here instead of by the database, which limits a statement's length.
MANY_KEYS = 500


def key_chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """``keys`` in parts that a statement can name one by one."""
    return (keys[at : at + MANY_KEYS] for at in range(0, len(keys), MANY_KEYS))


def record_of(kind: type[R], row: Row[Any], **others: Any) -> R:
    """The record in a row whose columns are named like its fields, but for ``others``."""
    held = row._mapping
    return kind(**{name: held[name] for name in _field_names(kind) if name not in others}, **others)


@functools.cache
def _field_names(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def write_ablation(connection: Connection, ablation: Ablation, asked: Callable[[Member], bool]) -> Ablation:
    """One row per ablation, member and run; runs that are there keep all but where data set and weights lie.

    Members that are not ``asked`` for stay as they were recorded, where they were.

    Returns:
        The ablation under the keys that its runs have here.
    """
    serialise(connection)
    refuse_other_file(connection, ablation)
    for member in filter(asked, ablation.members):
        if member.run.lacks_weights:
            raise StoreError(
                f"{member.setting} / {member.arm}: its pretrained weights are not here, so the run has no final key",
                where=ablation.name,
                hint="fetch them with mmad weights --fetch, or name their folder with --weights-dir",
            )
        if member.run.provisional:
            raise StoreError(
                f"{member.setting} / {member.arm}: the data set {member.run.data.path} was not looked at, so the run "
                "has no final key",
                where=ablation.name,
                hint="name its folder with --data",
            )
    known = connection.execute(select(runs.c.content, runs.c.key).where(runs.c.content != runs.c.key))
    ablation = ablation.recorded_as({row.content: row.key for row in known})
    wanted = [(position, member) for position, member in enumerate(ablation.members) if asked(member)]
    specs = {member.run.key: member.run for _, member in wanted}
    _write_runs(connection, specs)
    kept = _kept_members(connection, ablation, {_identity(member) for _, member in wanted})
    connection.execute(delete(members).where(members.c.ablation == ablation.name))
    connection.execute(delete(ablations).where(ablations.c.name == ablation.name))
    row = {
        "name": ablation.name,
        "title": ablation.title,
        "description": ablation.description,
        "path": str(Path(ablation.path).absolute()),
        "source": ablation.source,
        "compare": _json([list(pair) for pair in ablation.compare]),
        "added": now(),
    }
    connection.execute(insert(ablations), row)
    setups = _setups(connection, specs.keys())
    rows = [_member_row(member, setups[member.run.key], position) for position, member in wanted]
    if rows or kept:
        connection.execute(insert(members), rows + kept)
    for key in _replaced(connection, list(specs)):
        _point_members(connection, key)
    return ablation


#: What tells the members of one ablation apart.
_Identity = tuple[str, str, int, int]


def _identity(member: Member) -> _Identity:
    return member.setting, member.arm, member.seed, member.replicate


def _kept_members(connection: Connection, ablation: Ablation, wanted: Collection[_Identity]) -> list[dict[str, object]]:
    """The rows of members that were recorded before and are not ``wanted`` now; empty where all are.

    They stand where the file has them now, and after all others where it has them no more.
    """
    if len(wanted) == len(ablation.members):
        return []
    places = {_identity(member): position for position, member in enumerate(ablation.members)}
    kept: list[dict[str, object]] = []
    recorded = select(members).where(members.c.ablation == ablation.name).order_by(members.c.position)
    for row in connection.execute(recorded):
        identity = (row.setting, row.arm, row.seed, row.replicate)
        if identity not in wanted:
            words = {name: _json(row._mapping[name]) for name in ("inferred", "overrides", "own")}
            place = places.get(identity, len(places) + len(kept))
            kept.append({**row._mapping, **words, "position": place})
    return kept


def refuse_other_file(connection: Connection, ablation: Ablation) -> None:
    """Refuses an ablation whose name another file has in this database.

    A file that was moved, or copied and left as it is, is the same one.

    Raises:
        StoreError: with the path of the other file.
    """
    name, mine = file_name(ablation.name), Path(ablation.path).absolute()
    for row in connection.execute(select(ablations.c.name, ablations.c.path, ablations.c.source)):
        other = Path(row.path).absolute()
        if file_name(row.name) != name or other == mine or row.source == ablation.source:
            continue
        if other.is_file() and not (mine.is_file() and other.samefile(mine)):
            raise StoreError(
                f"another file of this name is recorded in the database: {row.path}",
                where=ablation.path,
                hint="rename one of the files, or name another database with --db",
            )


def delete_unasked(connection: Connection, keys: Collection[str]) -> tuple[str, ...]:
    """Deletes the runs of ``keys`` that no member asks for and nobody holds, with all that was measured of them."""
    serialise(connection)
    free = select(runs.c.key).where(runs.c.key.not_in(select(members.c.run_key)), runs.c.status.not_in(HELD))
    found = tuple(key for key in connection.scalars(free) if key in set(keys))
    for key in found:
        connection.execute(delete(runs).where(runs.c.key == key))
    return found


def _setups(connection: Connection, keys: Collection[str]) -> dict[str, Mapping[str, Any]]:
    found = select(runs.c.key, runs.c.setup)
    if len(keys) <= MANY_KEYS:
        found = found.where(runs.c.key.in_(keys))
    return {row.key: row.setup for row in connection.execute(found)}


def write_contents(connection: Connection) -> None:
    """Records of every run the key that its content has now.

    Of several with one content a finished one has it, else that with the most epochs, else the first; runs that
    continue one of the others are taken to continue that one. Rows that this version cannot read are left alone.
    """
    specs: dict[str, tuple[tuple[bool, int, int], RunSpec]] = {}
    damaged = {damage.identity: same_row(connection, runs, damage.identity) for damage in find_damage(connection, runs)}
    for row in connection.execute(_select_runs().where(*(~here for here in damaged.values()))):
        with suppress(ValidationError):
            rank = (row.status != "finished", -row.epochs_done, row.position)
            specs[row.key] = (rank, spec_of(_run_record(row)))
    kept: dict[str, str] = {}  # content → key
    for generation in _generations({key: spec.continues for key, (_, spec) in specs.items()}):
        for key in sorted(generation, key=lambda key: specs[key][0]):
            spec = specs[key][1]
            if (parent := spec.protocol.continues) is not None and parent.key in specs:
                continues = parent.model_copy(update={"key": kept[specs[parent.key][1].content_key]})
                spec = replace(spec, protocol=spec.protocol.model_copy(update={"continues": continues}))
                specs[key] = (specs[key][0], spec)
            kept.setdefault(spec.content_key, key)
    for content, key in kept.items():
        connection.execute(update(runs).where(runs.c.key == key).values(content=content))


def _generations(parents: Mapping[str, str | None]) -> Iterator[list[str]]:
    """The keys of ``parents``: first those that continue none of the others, then those that continue these, …"""
    waiting = dict(parents)
    while waiting:
        ready = [key for key, parent in waiting.items() if parent not in waiting]
        if not ready:
            return  # rows that continue one another in a circle were edited
        yield ready
        for key in ready:
            del waiting[key]


def spec_of(record: RunRecord, data: str | None = None) -> RunSpec:
    """The specification that a row was made of, known by the row's key; ``data`` is where its data set lies now.

    Raises:
        ValidationError: of pydantic, for fields that this version does not know.
    """
    spec = RunSpec(
        ModelSetup.model_validate(dict(record.setup)),
        TrainingProtocol.model_validate(dict(record.protocol)),
        DataSource(data or record.dataset_path, record.dataset_name, record.dataset_fingerprint),
        record.recipe,
    )
    return spec if spec.content_key == record.key else replace(spec, recorded_as=record.key)


def write_replacement(connection: Connection, key: str, run: RunSpec) -> None:
    """Has ``run`` trained in place of the run ``key``: its members point there, and say what differs."""
    serialise(connection)
    _write_runs(connection, {run.key: run})
    connection.execute(update(runs).where(runs.c.key == key).values(stand_in=run.key))
    _point_members(connection, key)


def _replaced(connection: Connection, keys: list[str]) -> list[str]:
    """Those of ``keys`` that another run is trained in place of, then those of these replacements, and so on."""
    replacements = {
        row.key: row.stand_in
        for row in connection.execute(select(runs.c.key, runs.c.stand_in).where(runs.c.stand_in.is_not(None)))
    }
    found = sorted(set(replacements) & set(keys))
    for key in found:  # which grows meanwhile
        if (after := replacements[key]) in replacements and after not in found:
            found.append(after)
    return found


def _point_members(connection: Connection, key: str) -> None:
    (replacement, setup) = connection.execute(select(runs.c.stand_in, runs.c.setup).where(runs.c.key == key)).one()
    other = connection.execute(select(runs.c.setup).where(runs.c.key == replacement)).scalar_one()
    differing = [f"{name}={value}" for name, value in other.items() if value != setup.get(name)]
    for row in connection.execute(select(members).where(members.c.run_key == key)).all():
        here = and_(*(column == row._mapping[column.name] for column in members.primary_key.columns))
        words = _json([*row.overrides, *differing])
        connection.execute(update(members).where(here).values(run_key=replacement, overrides=words))


def _write_runs(connection: Connection, wanted: Mapping[str, RunSpec]) -> None:
    lies = {
        row.key: (row.dataset_path, row.dataset_name, row.protocol)
        for row in connection.execute(select(runs.c.key, runs.c.dataset_path, runs.c.dataset_name, runs.c.protocol))
    }
    last, most = connection.execute(select(func.max(runs.c.position), func.max(runs.c.id))).one()
    position, number = 0 if last is None else last + 1, (most or 0) + 1
    fresh: list[dict[str, object]] = []
    for key, run in wanted.items():
        if key in lies:
            path, name, protocol = lies[key]
            there: dict[str, object] = {"weights": run.protocol.weights}
            if run.protocol.pretrained_on or "pretrained_on" in protocol:
                there["pretrained_on"] = list(run.protocol.pretrained_on)
            if run.protocol.modules:
                there["modules"] = [module.model_dump() for module in run.protocol.modules]
            if (path, name, {part: protocol.get(part) for part in there}) != (run.data.path, run.data.name, there):
                moved = {"dataset_path": run.data.path, "dataset_name": run.data.name}
                protocol = _json({**protocol, **there})
                connection.execute(update(runs).where(runs.c.key == key).values(**moved, protocol=protocol))
        else:
            fresh.append(_run_row(key, run, position + len(fresh), number + len(fresh)))
    if fresh:
        connection.execute(insert(runs), fresh)


def _run_row(key: str, run: RunSpec, position: int, number: int) -> dict[str, object]:
    setup, protocol = run.recorded()
    return {
        "id": number,
        "key": key,
        "content": run.content_key,
        "position": position,
        "status": "queued",
        "setup": _json(setup),
        "protocol": _json(protocol),
        "dataset_name": run.data.name,
        "dataset_path": run.data.path,
        "dataset_fingerprint": run.data.fingerprint,
        "recipe": run.recipe,
        "created": now(),
    }


def _member_row(member: Member, trained: Mapping[str, Any], position: int) -> dict[str, object]:
    """``trained`` is the setup in the row of the member's run."""
    setup, _ = member.run.recorded()
    return {
        "ablation": member.ablation,
        "setting": member.setting,
        "arm": member.arm,
        "seed": member.seed,
        "replicate": member.replicate,
        "run_key": member.run.key,
        "position": position,
        "documented": member.documented,
        **member.evaluation.model_dump(mode="json"),
        "inferred": _json(list(member.inferred)),
        "overrides": _json(list(member.overrides)),
        "own": _json({name: value for name, value in setup.items() if trained.get(name) != value}),
    }


def member_record(row: Row[Any]) -> MemberRecord:
    """The member in a row that has every column of ``members``."""
    evaluation = {field: row._mapping[field] for field in EvaluationProtocol.model_fields}
    words = {"inferred": tuple(row.inferred), "overrides": tuple(row.overrides)}
    return record_of(MemberRecord, row, key=row.run_key, evaluation=evaluation, **words)


def read_ablations(connection: Connection) -> list[AblationRecord]:
    """Every ablation by name, with its members in the file's order."""
    of: dict[str, list[MemberRecord]] = {}
    for row in connection.execute(select(members).order_by(members.c.ablation, members.c.position)):
        of.setdefault(row.ablation, []).append(member_record(row))
    return [
        record_of(
            AblationRecord,
            row,
            compare=tuple((a, b) for a, b in row.compare),
            members=tuple(of.get(row.name, ())),
            registrations=(),
        )
        for row in connection.execute(select(ablations).order_by(ablations.c.name))
    ]


def read_members(connection: Connection, ablation: str | None = None, most: int | None = None) -> list[MemberRecord]:
    """The first ``most`` members (None: all) of ``ablation`` (None: of all by name), in the file's order."""
    chosen = select(members).order_by(members.c.ablation, members.c.position).limit(most)
    if ablation is not None:
        chosen = chosen.where(members.c.ablation == ablation)
    return [member_record(row) for row in connection.execute(chosen)]


def count_members(connection: Connection) -> dict[str, int]:
    """How many members every ablation has, by name."""
    counts = select(ablations.c.name, func.count(members.c.ablation).label("n")).outerjoin(members)
    found = connection.execute(counts.group_by(ablations.c.name).order_by(ablations.c.name))
    return {row.name: row.n for row in found}


def _select_runs() -> Select[Any]:
    done = select(func.max(run_epochs.c.epoch)).where(run_epochs.c.run == runs.c.id).scalar_subquery()
    return select(runs, func.coalesce(done, 0).label("epochs_done")).order_by(runs.c.priority.desc(), runs.c.position)


def _run_record(row: Row[Any]) -> RunRecord:
    return record_of(RunRecord, row, stop_asked=bool(row.stop_asked), replacement=row.stand_in)


def read_runs(connection: Connection) -> list[RunRecord]:
    """Every run in the order of the queue."""
    return [_run_record(row) for row in connection.execute(_select_runs())]


def read_epochs_done(connection: Connection) -> dict[str, int]:
    """The last committed epoch of every run that has one, by key."""
    last = select(runs.c.key, func.max(run_epochs.c.epoch).label("done")).join(runs, runs.c.id == run_epochs.c.run)
    return {row.key: row.done for row in connection.execute(last.group_by(runs.c.key))}


def read_some_runs(connection: Connection, keys: Collection[str]) -> list[RunRecord]:
    """The runs of ``keys`` that are there, in the order of the queue."""
    chosen = (_select_runs().where(runs.c.key.in_(some)) for some in key_chunks(list(set(keys))))
    found = [row for one in chosen for row in connection.execute(one)]
    return [_run_record(row) for row in sorted(found, key=lambda row: (-row.priority, row.position))]


def read_run(connection: Connection, key: str) -> RunRecord:
    """The run whose key begins with ``key``. StoreError when there is none or more than one."""
    return _run_record(connection.execute(_select_runs().where(runs.c.key == full_key(connection, key))).one())


def full_key(connection: Connection, key: str) -> str:
    """The one key that begins with ``key``. StoreError naming the candidates, or the nearest."""
    if connection.scalar(select(runs.c.key).where(runs.c.key == key)) is not None:
        return key
    keys = list(connection.scalars(select(runs.c.key).order_by(runs.c.position)))
    matches = [candidate for candidate in keys if key and candidate.startswith(key)]
    if len(matches) == 1:
        return str(matches[0])
    if matches:
        shown = ", ".join(short_key(match) for match in matches[:5]) + (", …" if len(matches) > 5 else "")
        raise StoreError(f"{len(matches)} runs begin with {key}: {shown}", where="run", hint="give more of the key")
    near = nearest(key, [candidate[: max(len(key), 8)] for candidate in keys])
    hint = f"did you mean {near}?" if near else "mmad runs lists them all"
    raise StoreError(f"no run {key!r}", where="run", hint=hint)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
