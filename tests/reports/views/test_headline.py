"""Headline numbers, cell by cell."""

from reports.views import headline


def test_generators(run):
    assert headline.generators_table(run).rows == (
        ("reference", "8.1 ± 0.2", "–", "1.07 M", "17.4 M", "4.18 MB", "–"),
        ("baseline", "19.6 ± 0.2", "–", "75.1 k", "710 k", "301 kB", "baseline/model.onnx"),
        ("result", "8.9 ± 0.2", "+0.8 [0.2, 1.4]", "261 k", "3.05 M", "288 kB", "export/model.int8.onnx"),
    )


def test_tiles(run):
    assert [(tile.label, tile.value) for tile in headline.tiles(run)] == [
        ("speed-up at batch 1", "9.3×"),
        ("speed-up at batch 32", "17.0×"),
        ("FID from 8.1", "8.9"),
        ("file from 4.18 MB", "288 kB"),
        ("trials", "44"),
    ]
