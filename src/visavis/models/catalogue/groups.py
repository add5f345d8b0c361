"""What was measured of groups of people: which faces are children's, and the adults whose strangers are nearest."""

from visavis.core.decide import ErrorRates, OperatingPoint
from visavis.core.quality import ChildTest

SFACE_CHILD = ChildTest(
    "87 45 30 36 -68 23 -65 -93 -18 23 106 89 21 10 -4 55 34 45 102 10 51 1 22 -1 -10 41 -26 4 12 12 32 -92 -17 39 "
    "-48 -12 -11 -43 46 -24 -42 36 -39 11 19 -39 -5 -84 -16 23 5 -44 -34 22 102 39 -25 -127 44 -42 -30 -115 -7 -29 "
    "40 13 76 19 -52 68 -73 -49 22 -92 -12 34 71 -62 -43 -72 15 -36 -2 -16 -18 47 37 -20 45 -4 -32 -17 -42 26 9 -31 "
    "-38 -8 -3 28 -20 33 -28 47 36 -41 24 -90 -12 55 29 -7 -84 -121 4 8 36 89 -38 39 60 12 -15 -23 -82 -36 -48 -58",
    limit=124.8,
    provenance="half of UTKFace's photos here, and LFW's folds 2 to 4: bench/children.py --pack sface --fit, float32",
)
OPEN_CHILD = ChildTest(
    "2 51 -57 -14 47 -6 -25 95 52 63 31 -27 32 12 39 95 46 20 51 -5 10 -63 4 -4 23 -39 2 16 41 -20 39 51 -81 6 -32 "
    "-38 -10 87 5 -4 -21 23 49 -48 -89 -25 -34 37 29 -96 -27 -25 -16 32 -103 23 -17 25 -7 35 4 31 -119 -3 -39 1 10 "
    "78 41 16 1 1 -3 21 47 44 17 11 -23 31 -20 10 46 4 59 -27 46 17 50 65 -22 11 -28 47 32 76 -3 -14 66 34 -10 65 "
    "-84 -21 37 -74 -8 -30 -41 -15 53 56 -42 -99 3 35 10 20 48 -69 11 30 29 90 -23 -29 -12 12 -43 67 27 -29 14 25 30 "
    "44 12 -10 -14 50 -40 -32 52 -30 -28 -13 -3 17 -57 -64 58 -16 13 -11 -24 49 33 -69 21 68 -26 -57 50 28 55 104 2 "
    "-57 29 10 59 -9 -23 -36 -63 8 -71 47 -3 -68 61 -7 65 -30 57 -37 48 1 33 22 -7 -4 -93 -31 60 -17 18 32 34 -5 24 "
    "-51 -127 19 36 18 -17 55 -19 52 3 -42 -34 -52 -49 -70 52 51 -46 84 5 -8 58 -36 -32 1 -19 10 -15 -21 39 -12 -68 "
    "14 -103 -51 -40 -50 28 15 -105 38 34 4 -31 8 -6 48 37 -47 85 -6 -3 -1 9 -65",
    limit=197.5,
    provenance="half of UTKFace's photos here, and LFW's folds 2 to 4: bench/children.py --pack open --fit, float32",
)
DLIB_CHILD = ChildTest(
    "-23 -12 -45 -69 -67 23 -24 27 25 -51 82 30 41 -13 30 65 -55 36 21 1 -37 21 -61 28 -8 -35 42 -76 -8 42 -16 74 21 "
    "-3 -11 -1 -53 21 -6 -14 1 -15 -14 26 -61 -43 56 50 -20 34 -40 -31 -2 -16 3 24 39 -13 -71 -55 -43 16 -12 -32 84 "
    "38 -3 6 26 24 -60 -17 -78 -31 -27 7 20 2 16 35 62 -127 35 30 32 -17 103 29 29 -7 8 -1 26 -34 -15 -42 78 22 28 "
    "94 -18 -19 -70 3 -25 -3 49 -2 -13 14 -39 -26 11 -17 14 5 36 31 -27 -79 -3 -18 -78 -17 67 -55 -4 11",
    limit=111.9,
    provenance="half of UTKFace's photos here, and LFW's folds 2 to 4: bench/children.py --pack dlib --fit, float32",
)
SFACE_WORST = ErrorRates(
    points=(
        OperatingPoint(0.001, 0.4604, 0.3292, 0.5726),
        OperatingPoint(0.003, 0.5784, 0.5018, 0.5983),
        OperatingPoint(0.01, 0.6229, 0.6052, 0.6367),
        OperatingPoint(0.03, 0.6703, 0.6563, 0.6849),
        OperatingPoint(0.1, 0.7365, 0.7235, 0.7485),
        OperatingPoint(0.3, 0.8216, 0.8096, 0.8344),
    ),
    provenance="strangers among 150 Indian women, of UTKFace: bench/groups.py --pack sface, float32",
)
OPEN_WORST = ErrorRates(
    points=(
        OperatingPoint(0.001, 0.4662, 0.1292, 0.5292),
        OperatingPoint(0.003, 0.5244, 0.4680, 0.5725),
        OperatingPoint(0.01, 0.5867, 0.5553, 0.6178),
        OperatingPoint(0.03, 0.6539, 0.6314, 0.6784),
        OperatingPoint(0.1, 0.7357, 0.7182, 0.7570),
        OperatingPoint(0.3, 0.8412, 0.8208, 0.8626),
    ),
    provenance="strangers among 110 Asian men, of UTKFace: bench/groups.py --pack open, float32",
)
DLIB_WORST = ErrorRates(
    points=(
        OperatingPoint(0.001, 0.3956, 0.3862, 0.4141),
        OperatingPoint(0.003, 0.4141, 0.4022, 0.4263),
        OperatingPoint(0.01, 0.4392, 0.4266, 0.4543),
        OperatingPoint(0.03, 0.4709, 0.4593, 0.4856),
        OperatingPoint(0.1, 0.5176, 0.5049, 0.5324),
        OperatingPoint(0.3, 0.5866, 0.5690, 0.6066),
    ),
    provenance="strangers among 150 Asian women, of UTKFace: bench/groups.py --pack dlib, float32",
)
