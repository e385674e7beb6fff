"""What setups were seen to need of a device's memory, in bytes."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from mmad.base.clock import now
from mmad.store.engine import serialise
from mmad.store.schema import device_memory


def write_memory(connection: Connection, need: str, device: str, size: int) -> None:
    """Keeps the most that was seen; ``device`` is a model's name, such as ``NVIDIA A100``."""
    serialise(connection, f"{need} {device}")  # several commands may see the same for the first time
    here = (device_memory.c.need == need) & (device_memory.c.device == device)
    before = connection.scalar(select(device_memory.c.bytes).where(here))
    if before is not None and before >= size:
        return
    connection.execute(delete(device_memory).where(here))
    row = {"need": need, "device": device, "bytes": int(size), "measured": now()}
    connection.execute(insert(device_memory), row)


def read_memory(connection: Connection) -> dict[tuple[str, str], int]:
    """The bytes by (need, device)."""
    return {(row.need, row.device): int(row.bytes) for row in connection.execute(select(device_memory))}
