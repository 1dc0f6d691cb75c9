"""Pictures and tables of kinds that need a library of their own: DICOM, HEIC, Excel's workbooks."""

import datetime
import io

import numpy as np
import openpyxl
import pillow_heif
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from data import DataError, labels, own
from data.pictures import read_picture, read_pictures

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


def save_dicom(path, values, *, bits=12, syntax=ExplicitVRLittleEndian, **changes):
    """values: stored ones, (H, W), (frames, H, W) or, of RGB, (H, W, 3)."""
    colour = values.shape[-1] == 3
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    header.Rows, header.Columns = values.shape[:2] if colour or values.ndim == 2 else values.shape[1:]
    header.SamplesPerPixel = 3 if colour else 1
    header.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        header.PlanarConfiguration = 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 8 * values.itemsize, bits, bits - 1
    header.PixelRepresentation = int(np.issubdtype(values.dtype, np.signedinteger))
    if values.ndim == 3 and not colour:
        header.NumberOfFrames = len(values)
    header.PixelData = values.tobytes()
    for name, value in changes.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    return read_picture(path, 64).pixels[..., 0].astype(int)


def test_twelve_bits_without_a_window_use_the_whole_range(tmp_path):
    stored = np.round(RAMP * 4_095).astype(np.uint16)
    picture = read_picture(save_dicom(tmp_path / "x", stored), 64)
    assert np.abs(picture.pixels[..., 0] - 255 * RAMP).max() <= 0.6 and not picture.dark and not picture.several


def test_a_window_is_taken_after_the_rescaling_as_the_standard_writes_it(tmp_path):
    hounsfield = np.round(RAMP * 2_000 - 1_000)
    stored = (hounsfield + 1_024).astype(np.uint16)
    window = {"RescaleSlope": 1, "RescaleIntercept": -1_024, "WindowCenter": [40, 600], "WindowWidth": [400, 1_600]}
    found = grey(save_dicom(tmp_path / "x.dcm", stored, **window))
    expected = 255 * np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1)  # PS3.3, C.11.2.1.2.1
    assert np.abs(found - expected).max() <= 0.6
    exact = grey(save_dicom(tmp_path / "x.dcm", stored, **window, VOILUTFunction="LINEAR_EXACT"))
    assert np.abs(exact - 255 * np.clip((hounsfield - 40) / 400 + 0.5, 0, 1)).max() <= 0.6


def test_white_may_be_the_least_values_may_be_signed_and_a_slope_negative(tmp_path):
    stored = np.round(RAMP * 255).astype(np.uint8)
    inverse = grey(save_dicom(tmp_path / "x", stored, bits=8, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverse, 255 - stored.astype(int))
    signed = np.round(RAMP * 4_095 - 2_048).astype(np.int16)
    assert np.abs(grey(save_dicom(tmp_path / "y", signed)) - 255 * RAMP).max() <= 0.6
    turned = save_dicom(tmp_path / "z", np.round(RAMP * 4_095).astype(np.uint16), RescaleSlope=-1, RescaleIntercept=0)
    assert np.abs(grey(turned) - 255 * (1 - RAMP)).max() <= 0.6


def test_of_several_frames_the_first_counts_and_colour_and_jpeg_are_read(tmp_path):
    frames = np.stack([np.round(RAMP * 255), np.zeros((64, 64))]).astype(np.uint8)
    picture = read_picture(save_dicom(tmp_path / "many", frames, bits=8), 64)
    assert picture.several and picture.pixels.max() == 255
    colour = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(read_picture(save_dicom(tmp_path / "rgb", colour, bits=8), 64).pixels, colour)
    jpeg = io.BytesIO()
    Image.fromarray(frames[0]).save(jpeg, "JPEG", quality=95)
    packed = pydicom.encaps.encapsulate([jpeg.getvalue()])
    path = save_dicom(tmp_path / "jpeg", frames[0], bits=8, syntax=JPEGBaseline8Bit, PixelData=packed)
    assert np.abs(grey(path) - frames[0].astype(int)).max() <= 6


def test_bad_dicom_files_are_named_errors(tmp_path):
    path = save_dicom(tmp_path / "x", np.zeros((64, 64), np.uint16))
    whole = path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-5_000])
    (tmp_path / "start").write_bytes(whole[:140])
    save_dicom(tmp_path / "large", np.zeros((64, 64), np.uint16), Rows=50_000, Columns=50_000)
    rng = np.random.default_rng(0)
    for i in range(40):
        noisy = bytearray(whole)
        for at in rng.integers(132, 600, 8):
            noisy[at] = rng.integers(256)
        (tmp_path / f"noise{i}").write_bytes(noisy)
    paths = sorted(set(tmp_path.iterdir()) - {path})
    found = dict(zip([path.name for path in paths], read_pictures(paths), strict=True))
    assert "can't be read" in str(found["cut"]) and isinstance(found["start"], DataError)
    assert "50000x50000 pixels, more than" in str(found["large"])


def test_heic_photographs_are_read(tmp_path):
    colour = np.full((80, 60, 3), (200, 100, 50), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(colour)).save(tmp_path / "x.heic", quality=90)
    assert np.abs(read_picture(tmp_path / "x.heic", 64, "stretch").pixels.astype(int) - (200, 100, 50)).max() < 8


# --- workbooks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path):
    book, path = openpyxl.Workbook(), tmp_path / "labels.xlsx"
    first = ["1", True, 1.0, datetime.datetime(2026, 11, 30)]
    for row in (["file", "a", "b", "day"], first, [2, None, 0.5], [], ["3"]):
        book.active.append(row)
    book.save(path)
    return path


def read(path, sheet=None):
    problems = []
    return *labels.read_rows(path, problems, [], sheet), problems


def test_a_sheets_cells_are_what_a_spreadsheet_shows(book):
    header, rows, problems = read(book)
    assert header == ["file", "a", "b", "day"] and not problems
    assert rows == {2: ["1", "True", "1", "2026-11-30"], 3: ["2", "", "0.5", ""], 5: ["3", "", "", ""]}


def test_of_several_sheets_one_is_asked_for_and_the_answer_works(book):
    workbook = openpyxl.load_workbook(book)
    workbook.create_sheet("More").append(["file", "c"])
    workbook.create_sheet("Empty")
    workbook.save(book)
    assert read(book)[2] == ["labels.xlsx has several sheets: Sheet, More; add sheet=Sheet"]
    assert read(book, "Sheet")[1][2][0] == "1" and read(book, "More")[0] == ["file", "c"]
    assert "no such sheet with cells; it has: Sheet, More" in read(book, "Empty")[2][0]


def test_what_is_no_workbook_is_told(tmp_path, book):
    (tmp_path / "cut.xlsx").write_bytes(book.read_bytes()[:-300])
    assert "can't be read as an Excel workbook" in read(tmp_path / "cut.xlsx")[2][0]
    (tmp_path / "old.ods").write_bytes(book.read_bytes())
    assert "save its sheet as xlsx, or as CSV" in read(tmp_path / "old.ods")[2][0]
    (tmp_path / "x.csv").write_text("file,a\n1,0\n")
    assert "sheet=a: x.csv is no Excel workbook (xlsx); leave it out" in read(tmp_path / "x.csv", "a")[2]
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    assert read(tmp_path / "empty.xlsx")[2] == ["empty.xlsx has no sheet with cells"]


def test_a_folder_of_dicom_files_without_endings_and_a_workbook_are_a_data_set(tmp_path):
    rng, workbook = np.random.default_rng(0), openpyxl.Workbook()
    (tmp_path / "scans").mkdir()
    workbook.active.append(["scan", "sick"])
    for i in range(60):
        save_dicom(tmp_path / "scans" / f"IM{i:04d}", rng.integers(0, 4_096, (70, 64)).astype(np.uint16))
        workbook.active.append([f"IM{i:04d}", "yes" if i % 3 else "no"])
    workbook.save(tmp_path / "labels.xlsx")
    arrays, _ = own.gather(tmp_path / "scans", tmp_path / "labels.xlsx")
    assert arrays["labels"].tolist() == ["sick"] and arrays["y"].sum() == 40 and len(arrays["x"]) == 60
