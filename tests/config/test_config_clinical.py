"""Whether the clinical branch fits a data set's columns."""

from __future__ import annotations

import pytest

from mmad.base.errors import SpecError
from mmad.base.records import DOCUMENTED_COLUMNS, ClinicalColumns
from mmad.config.setup import ModelSetup
from mmad.config.setup_checks import require_fit


def test_what_fits_passes_and_idle_columns_do_not_matter() -> None:
    assert require_fit(ModelSetup(use_clinical=True, clinical_num_len=9), DOCUMENTED_COLUMNS) is None
    assert require_fit(ModelSetup(clinical_num_len=3), ClinicalColumns()) is None
    both = {"use_clinical": True, "clinical_num_len": 9, "clinical_missing_indicators": True}
    require_fit(ModelSetup(clinical_input_channels=19, **both), DOCUMENTED_COLUMNS)  # the length counts columns


@pytest.mark.parametrize(
    ("fields", "columns", "said"),
    [
        ({}, ClinicalColumns(), "no clinical column is left; name some"),
        ({"clinical_num_len": 4}, DOCUMENTED_COLUMNS, "clinical_num_len = 4, but there are 9"),
        (
            {"clinical_input_channels": 18, "clinical_missing_indicators": True},
            DOCUMENTED_COLUMNS,
            "is too small for 9 numbers and their 9 missing-value indicators and 1 .*use at least 19",
        ),
        ({"clinical_input_channels": 9}, DOCUMENTED_COLUMNS, "is too small for 9 numbers.*use at least 10"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mend(fields: dict, columns: ClinicalColumns, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        require_fit(ModelSetup(use_clinical=True, **fields), columns)
