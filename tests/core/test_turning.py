"""Images turned by quarters, and points that are taken back."""

import numpy as np
import pytest

from visavis.core.orientation import turned, turned_back


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("size_wh", [(1, 1), (4, 3), (2, 5)])
def test_points_go_back_to_the_pixels_that_they_were_found_in(quarters: int, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image = np.arange(3 * width * height, dtype=np.uint8).reshape(height, width, 3)
    lying = turned(image, quarters)
    assert lying.shape == ((width, height, 3) if quarters % 2 else image.shape)
    y, x = np.mgrid[: lying.shape[0], : lying.shape[1]].reshape(2, -1)
    back = turned_back(np.column_stack([x, y]).astype(np.float32), quarters, size_wh).astype(int)
    np.testing.assert_array_equal(image[back[:, 1], back[:, 0]], lying[y, x])


def test_one_quarter_is_clockwise() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 1  # the top left corner, which goes to the right
    assert turned(image, 1)[0, 1, 0] == 1
    assert turned_back(np.empty((0, 2), np.float32), 1, (3, 2)).shape == (0, 2)
