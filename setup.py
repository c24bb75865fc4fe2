"""What pyproject.toml cannot say: the samples are installed as the package `mlcore_sample_data`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mlcore", "mlcore.*"]), "mlcore_sample_data"],
    package_dir={"mlcore_sample_data": "sample_data"},
    package_data={
        "mlcore.timm_zoo": ["*.csv"],
        "mlcore_sample_data": ["*.md", "*.txt", "*/*.png", "*/*.csv"],
    },
)
