#!/usr/bin/python3
"""json_schema.py SCHEMA FILE...: prints for each file `valid`, or `invalid: why`.

The schema lets receivers take members that it does not know; here one is an error.
"""
import json
import sys

import jsonschema

schema = json.load(open(sys.argv[1], encoding='utf-8'))
jsonschema.Draft202012Validator.check_schema(schema)
for closed in [schema, *(each for each in schema['$defs'].values() if 'properties' in each)]:
    closed['additionalProperties'] = False
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(json.load(open(path, encoding='utf-8'))))
    except ValueError as broken:
        error = broken
    print('valid' if error is None else 'invalid: %s' % str(error).splitlines()[0])
