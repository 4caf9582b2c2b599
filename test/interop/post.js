// A POST as the tests write it down: header lines, an empty line, the body; lines end with CR LF.
'use strict';
exports.readPost = (bytes) => {
  const end = bytes.indexOf('\r\n\r\n');
  const lines = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const split = (line, colon) => [line.slice(0, colon), line.slice(colon + 2)];
  const headers = Object.fromEntries(lines.map((line) => split(line, line.indexOf(':'))));
  return {headers, body: bytes.subarray(end + 4).toString('utf8')};
};
