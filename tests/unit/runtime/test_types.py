"""What JSON numbers become."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate_runtime.types import CARRIERS, FLOAT32_END

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_number_of_fp32_may_be_written_in_its_shortest_form(sign: int) -> None:
    read = CARRIERS["FP32"].from_list(CARRIERS["FP32"], [sign * 3.4028235e38])

    assert read.tolist() == [sign * LARGEST]


@pytest.mark.parametrize("number", [FLOAT32_END, -FLOAT32_END, 10**400])
def test_what_would_be_rounded_to_infinity_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="too large for FP32"):
        CARRIERS["FP32"].from_list(CARRIERS["FP32"], [number])
