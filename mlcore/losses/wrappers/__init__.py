"""Wrappers: losses made of losses. One file each, imported in mlcore/losses/__init__.py."""
