#!/usr/bin/python3
"""Reads a page of metrics, with the parser of Prometheus' own Python client, and prints what it has understood.

openmetrics.py openmetrics|text FILE: a line for each sample: family, type, unit, sample, labels as name=value joined by
commas and sorted, and value, with tabs between them. What breaks a rule of the format is an error.
"""
import sys

from prometheus_client import parser as text
from prometheus_client.openmetrics import parser as openmetrics


def main():
    form, path = sys.argv[1:]
    with open(path, encoding="utf-8", newline="") as page:
        content = page.read()
    parse = {"openmetrics": openmetrics, "text": text}[form].text_string_to_metric_families
    for family in parse(content):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            print(family.name, family.type, family.unit, sample.name, labels, repr(float(sample.value)), sep="\t")


main()
