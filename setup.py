"""The ablation files and their schema travel as ``mmad/ablations``; everything else is said in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mmad*"]), "mmad.ablations"],
    package_dir={"mmad.ablations": "ablations"},
    package_data={"mmad.ablations": ["*.toml", "*.json"]},
)
