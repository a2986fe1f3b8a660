"""Published figures, printed beside ours. Nothing here was computed by us."""

from collections.abc import Mapping, Sequence

from benchmarks.tables import Row

_M4 = "M4 competition, `Evaluation and Ranks.xlsx`"
_GIFT = "GIFT-Eval, `results/*/all_results.csv`"
_SEGRNN = "SegRNN, Table 2 (look-back 720)"
_PATCHTST = "PatchTST, Table 3"
_LTSF = "LTSF-Linear, `LTSF-Benchmark.md` (look-back 336)"

_M4_HOURLY = (
    ("Doornik, Castle, Hendry: Card (9th overall, best hourly)", 8.913, 0.801, 0.410),
    ("Smyl: ES-RNN (winner)", 9.328, 0.893, 0.440),
    ("Pawlikowski (3rd)", 9.611, 0.873, 0.444),
    ("Montero-Manso: FFORMA (2nd)", 11.506, 0.819, 0.484),
    ("sNaive", 13.912, 1.193, 0.627),
    ("Theta", 18.138, 2.455, 1.006),
    ("Naive2", 18.383, 2.395, 1.0),
    ("Bandara: LSTM (40th)", 18.598, 2.758, 1.082),
    ("RNN benchmark", 14.698, 3.048, 1.036),
)
_GIFT_M4_HOURLY = (
    ("TiRex (zero-shot)", 0.722, 0.020),
    ("TimesFM-2.5 (zero-shot)", 0.734, 0.024),
    ("Chronos-2 (zero-shot)", 0.788, 0.023),
    ("AutoARIMA", 1.030, 0.034),
    ("Seasonal naive", 1.193, 0.038),
    ("N-BEATS", 1.340, 0.050),
    ("PatchTST", 1.400, 0.039),
    ("TFT", 2.470, 0.040),
    ("xLSTM-Mixer", 3.344, 0.030),
    ("DeepAR", 3.530, 0.133),
)
_GIFT_ETT1_SHORT = (
    ("Chronos-2 (zero-shot)", 0.787, 0.171),
    ("TiRex (zero-shot)", 0.817, 0.176),
    ("xLSTM-Mixer", 0.863, 0.181),
    ("PatchTST", 0.893, 0.190),
    ("TFT", 0.947, 0.199),
    ("Seasonal naive", 0.977, 0.240),
    ("DeepAR", 1.060, 0.233),
)
_ETTH1_LTSF = {
    96: (
        ("SegRNN", 0.351, 0.392, _SEGRNN),
        ("PatchTST", 0.375, 0.404, _SEGRNN),
        ("PatchTST/64", 0.370, 0.400, _PATCHTST),
        ("iTransformer", 0.396, 0.426, _SEGRNN),
        ("DLinear", 0.381, 0.407, _SEGRNN),
        ("NLinear", 0.374, None, _LTSF),
        ("DeepAR", 1.097, 0.803, _SEGRNN),
    ),
    192: (
        ("SegRNN", 0.392, 0.414, _SEGRNN),
        ("PatchTST", 0.418, 0.430, _SEGRNN),
        ("PatchTST/64", 0.413, 0.429, _PATCHTST),
        ("iTransformer", 0.430, 0.450, _SEGRNN),
        ("DLinear", 0.419, 0.430, _SEGRNN),
        ("NLinear", 0.408, None, _LTSF),
        ("DeepAR", 1.080, 0.793, _SEGRNN),
    ),
    336: (
        ("SegRNN", 0.423, 0.433, _SEGRNN),
        ("PatchTST", 0.462, 0.460, _SEGRNN),
        ("PatchTST/64", 0.422, 0.440, _PATCHTST),
        ("iTransformer", 0.480, 0.486, _SEGRNN),
        ("DLinear", 0.454, 0.456, _SEGRNN),
        ("NLinear", 0.429, None, _LTSF),
        ("DeepAR", 1.076, 0.800, _SEGRNN),
    ),
    720: (
        ("SegRNN", 0.466, 0.472, _SEGRNN),
        ("PatchTST", 0.495, 0.497, _SEGRNN),
        ("PatchTST/64", 0.447, 0.468, _PATCHTST),
        ("iTransformer", 0.700, 0.608, _SEGRNN),
        ("DLinear", 0.499, 0.507, _SEGRNN),
        ("NLinear", 0.440, None, _LTSF),
        ("DeepAR", 1.079, 0.815, _SEGRNN),
    ),
}


def _gift(rows: Sequence[tuple[str, float, float]]) -> list[Row]:
    return [
        {"published": name, "mase": mase, "wql": wql, "source": _GIFT} for name, mase, wql in rows
    ]


def _m4(rows: Sequence[tuple[str, float, float, float]]) -> list[Row]:
    return [
        {"published": name, "mase": mase, "smape": smape, "owa": owa, "source": _M4}
        for name, smape, mase, owa in rows
    ]


PUBLISHED: Mapping[str, Sequence[Row]] = {
    "m4_hourly": [*_m4(_M4_HOURLY), *_gift(_GIFT_M4_HOURLY)],
    "etth1_gift_short": [
        {**row, "vs_best_naive": round(mase / 0.977 - 1, 4)}
        for row, (_, mase, _) in zip(_gift(_GIFT_ETT1_SHORT), _GIFT_ETT1_SHORT, strict=True)
    ],
    **{
        f"etth1_ltsf_{horizon}": [
            {"published": name, "mse": mse, "mae": mae, "source": source}
            for name, mse, mae, source in rows
        ]
        for horizon, rows in _ETTH1_LTSF.items()
    },
}
"""By section of the accuracy benchmark."""
