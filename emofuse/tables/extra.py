"""Columns of the user's own, which travel from a manifest to the fused table: text, numbers or booleans."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.types as kinds

from emofuse.errors import DataError

EXPRESSION = "face_expression_"
"""How the columns of EmoNet's expressions begin."""


def plain_extra(table: pa.Table, known: Collection[str], reserved: Collection[str], what: str) -> pa.Table:
    """`table` with every column beyond the known ones as string, int64, float64 or bool.

    Args:
        table: whose names are unique.
        known: names that are no extras.
        reserved: names that later stages add, so that no extra may have them.
        what: how to call the table in a message.

    Raises:
        DataError: naming the first column that has a reserved name or holds something else.
    """
    for at, field in enumerate(table.schema):
        if field.name in known:
            continue
        if field.name in reserved or field.name.startswith(EXPRESSION):
            raise DataError(f"{what}: column {field.name} has the name of a column that emofuse adds; rename it")
        plain = plain_type(field.type)
        if plain is None:
            raise DataError(f"{what}: column {field.name} must hold text, numbers or booleans; it holds {field.type}")
        if plain != field.type:
            table = table.set_column(at, field.name, table.column(at).cast(plain))
    return table


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The one of four types that a column is brought to: text, number or boolean; None for what is none of them."""
    if kinds.is_dictionary(kind):
        return pa.string() if plain_type(kind.value_type) == pa.string() else None
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_null(kind):
        return pa.string()
    if kinds.is_integer(kind):
        return pa.int64()
    if kinds.is_floating(kind):
        return pa.float64()
    return kind if kinds.is_boolean(kind) else None
