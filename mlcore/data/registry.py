"""The data sets a person can choose. A source is a class whose `read()` returns an `ImageTable`."""

from mlcore.declare import Registry

DATASETS = Registry("data set")
