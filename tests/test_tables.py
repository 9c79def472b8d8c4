"""Tables and arrays: dialects of CSV, encodings, what is not said and must be asked for."""

import numpy as np
import pytest
import vendor_files as files
from test_recording import INJECTION, VALUES, one

from tools.errors import NeedsFields, UnreadableFile
from tools.recording import LEADS, read

TABLE = np.round(np.random.default_rng(2).normal(size=(400, 3)), 3)  # (samples, leads) mV


def table(separator: str = ",", head: str = "", rows: np.ndarray = TABLE, times: list[str] | None = None) -> str:
    lines = [separator.join(f"{value:g}" for value in row) for row in rows]
    if times:
        lines = [f"{time}{separator}{line}" for time, line in zip(times, lines, strict=True)]
    return head + "\n".join(lines)


CLOCK = [f"'0:{n / 360:06.3f}'" for n in range(400)]
APPLE = f"Name,{INJECTION}\nDate of Birth,1 Jan 1980\nSample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n"


@pytest.mark.parametrize(
    ("text", "given", "leads", "fs_hz"),
    [
        (table(), {"fs_hz": 250, "unit": "mV"}, ("ECG1", "ECG2", "ECG3"), 250),
        (table("\t", "I\tII\tV1\n"), {"fs_hz": 250, "unit": "mV"}, ("I", "II", "V1"), 250),
        (table(" "), {"fs_hz": 250, "unit": "mV"}, ("ECG1", "ECG2", "ECG3"), 250),
        (table(",", "# fs: 500 Hz, unit: mV\nI,II,V1\n"), {}, ("I", "II", "V1"), 500),
        (table(",", "", TABLE.T), {"fs_hz": 250, "unit": "mV"}, ("ECG1", "ECG2", "ECG3"), 250),
        (table(",", "", TABLE.T, ["I", "II", "V1"]), {"fs_hz": 250, "unit": "mV"}, ("I", "II", "V1"), 250),
        (table(",", "time (s),I (mV),II (mV),V1 (mV)\n", times=[f"{n / 360:.4f}" for n in range(400)]),
         {}, ("I", "II", "V1"), 360),
        (table(",", "ms,I,II,V1\n", times=[f"{n}" for n in range(400)]), {"unit": "mV"}, ("I", "II", "V1"), 1000),
        (table(";", "Zeit;I;II;V1\n", times=[f"{2 * n}" for n in range(400)]).replace(".", ","),
         {"unit": "mV"}, ("I", "II", "V1"), 500),
        (table(",", "'Elapsed time','MLII','V2','V5'\n'hh:mm:ss.mmm','mV','mV','mV'\n", times=CLOCK),
         {}, ("II", "V2", "V5"), 360),
        (table(",", "sample,I,II,V1\n", times=[f"{n}" for n in range(400)]),
         {"fs_hz": 200, "unit": "mV"}, ("I", "II", "V1"), 200),
        (table(",", APPLE, TABLE[:, :1] * 1000), {}, ("I",), 512),
    ],
)  # fmt: skip
def test_csv_dialects(tmp_path, text, given, leads, fs_hz):
    recording = one(tmp_path, text.encode(), **given)
    assert (recording.leads, recording.fs_hz, recording.unit) == (leads, fs_hz, "mV")
    np.testing.assert_allclose(recording.signal, TABLE.T[: len(leads)], atol=1e-6)
    assert INJECTION not in repr(recording)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    text = 'Patient,"unbalanced "" quote\n' + table(",", "Unit,µV\nI,II,V1\n", TABLE * 1000)
    recording = one(tmp_path, text.replace("\n", end).encode(encoding), fs_hz=500)
    assert recording.leads == ("I", "II", "V1")
    np.testing.assert_allclose(recording.signal, TABLE.T, atol=1e-6)


def test_tables_of_other_kinds(tmp_path):
    flow = "time (s),flow (L/s)\n" + "\n".join(f"{n / 100},{np.sin(n / 50):.3f}" for n in range(300))
    spirogram = one(tmp_path, flow.encode())
    assert (spirogram.kind, spirogram.fs_hz, spirogram.unit, spirogram.leads) == ("spirogram", 100, "L/s", ("FLOW",))
    pulse = one(tmp_path, b"PPG\n" + b"1.5\n2\n" * 100, fs_hz=125)
    assert (pulse.kind, pulse.unit) == ("ppg", "NU")
    nameless = one(tmp_path, b"1.5\n2\n" * 100, fs_hz=125, kind="ppg")
    assert (nameless.kind, nameless.leads) == ("ppg", ("PPG",))


def test_gaps_in_a_table_are_missing(tmp_path):
    recording = one(tmp_path, b"I,II,III\n" + b"1,,0\n,2,NA\n" * 50, fs_hz=100, unit="mV")
    np.testing.assert_array_equal(recording.signal[:, :2], [[1, np.nan], [np.nan, 2], [0, np.nan]])


@pytest.mark.parametrize(
    ("above", "fs_hz"),
    [
        ("Notch filter frequency: 60 Hz\nSample rate: 500 Hz\n", 500),
        ("# Low pass frequency: 150 Hz, sampling frequency (Hz): 250\n", 250),
        ("Abtastrate;360\n", 360),
        ("Frequency,128\n", 128),
        ("Sampling rate: 0.5 kHz\n", 500),
        ("fs_hz = 1000\n", 1000),
    ],
)
def test_the_rate_above_a_table_is_that_of_the_samples(tmp_path, above, fs_hz):
    assert one(tmp_path, (above + table()).encode(), unit="mV").fs_hz == fs_hz


def test_times_with_a_date(tmp_path):
    rows = "".join(f"2024-01-01T10:00:{n / 100:06.3f},{n % 9},{n % 5}\n" for n in range(300))
    found = one(tmp_path, ("timestamp,I (mV),II (mV)\n" + rows).encode())
    assert (found.fs_hz, found.leads) == (100, ("I", "II"))


def test_units_behind_an_underscore(tmp_path):
    rows = "".join(f"{n / 100:.2f},{n % 9},{n % 5}\n" for n in range(300))
    found = one(tmp_path, ("time_s,II_mV,V1_mV\n" + rows).encode())
    assert (found.leads, found.fs_hz, found.unit) == (("II", "V1"), 100, "mV")


def test_too_many_columns_are_counted(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 200))
    text = ",".join(f"c{n} (mV)" for n in range(200)) + "\n" + "\n".join(",".join(f"{v:.3f}" for v in r) for r in rows)
    with pytest.raises(UnreadableFile, match="200"):
        one(tmp_path, text.encode(), fs_hz=250)


def test_a_filter_is_no_rate(tmp_path):
    with pytest.raises(NeedsFields):
        one(tmp_path, ("Notch filter frequency: 50 Hz\n" + table()).encode(), unit="mV")


@pytest.mark.parametrize(
    ("given", "fields"), [({}, ("fs_hz", "unit")), ({"unit": "uV"}, ("fs_hz",)), ({"fs_hz": 500}, ("unit",))]
)
@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_what_is_not_said_is_asked_for(tmp_path, suffix, given, fields):
    path = tmp_path / f"x.{suffix}"
    np.save(path, TABLE) if suffix == "npy" else path.write_text(table())
    with pytest.raises(NeedsFields) as caught:
        read(path, **given)
    assert caught.value.fields == fields


def test_what_is_said_is_believed(tmp_path):
    recording = one(tmp_path, files.csv(VALUES), fs_hz=250, unit="V")
    assert (recording.fs_hz, recording.unit) == (500, "mV")
    assert sum("not used" in text for text in recording.warnings) == 2


def test_counts_are_no_unit(tmp_path):
    header = files.wfdb(tmp_path, VALUES)
    header.write_text(header.read_text().replace("/mV", "/adu"))
    with pytest.raises(NeedsFields) as caught:
        read(header)
    assert caught.value.fields == ("unit",)
    np.testing.assert_allclose(read(header, unit="uV")[0].signal, VALUES / 200_000, atol=1e-6)


def test_npy_either_way_up_and_npz_keys(tmp_path):
    for array in (TABLE, TABLE.T, np.asfortranarray(TABLE), TABLE.astype(">f8"), TABLE[None]):
        np.save(tmp_path / "x.npy", array)
        (recording,) = read(tmp_path / "x.npy", fs_hz=500, unit="mV")
        np.testing.assert_allclose(recording.signal, TABLE.T, rtol=1e-6)
    np.savez(tmp_path / "x.npz", signal=VALUES, fs=np.array(500), leads=np.array(LEADS[::-1]), unit="uV")
    (recording,) = read(tmp_path / "x.npz")
    assert recording.leads == LEADS
    np.testing.assert_allclose(recording.signal, VALUES[::-1] / 1000, atol=1e-6)
