"""The rows of tests/cases.py, a module for each family of layers."""
