import pytest

from penjing.core.errors import OptionError
from penjing.core.tables import device, devices


def test_every_row_of_the_hardware_names_its_source_and_date_and_has_some_peak():
    for found in devices():
        assert found.source and len(found.date) == 7
        assert all(found.peak(precision) > 0 for precision in ("fp32", "tf32", "bf16", "fp16", "fp8"))


def test_names_and_aliases_are_found_whatever_the_case_and_no_two_rows_share_one():
    assert device("h100").name == device("H100-SXM").name == "H100-SXM"
    said = [name for found in devices() for name in (found.name, *filter(None, found.aliases.split(";")))]
    assert len(said) == len(set(said)) and all(name == name.upper() for name in said)


def test_peaks_fall_back_to_the_units_that_torch_would_use():
    assert device("A100").peak("bf16") == 312e12
    assert device("A100").peak("fp8") == 312e12  # no units for it
    assert device("V100").peak("bf16") == 125e12  # of the fp16 units
    assert device("V100").peak("tf32") == 15.7e12
    assert device("CPU-AVX2").peak("bf16") == 1.54e12
    assert device("TPU-v4").peak("fp32") == 275e12


def test_unknown_hardware_is_refused_with_the_nearest_names():
    with pytest.raises(OptionError, match="no hardware called 'H1000'") as refused:
        device("H1000")
    assert "H100" in refused.value.wanted
