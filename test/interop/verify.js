// verify.js SECRET FILE: does the reference library of Standard Webhooks take this POST (header lines, an empty line, the
// body)? Prints `verified` or `refused: why`.
'use strict';
const {readFileSync} = require('fs');
const {Webhook} = require('standardwebhooks');
const {readPost} = require('./post.js');

const [secret, file] = process.argv.slice(2);
const {headers, body} = readPost(readFileSync(file));
try {
  new Webhook(secret).verify(body, headers);
  console.log('verified');
} catch (error) {
  console.log(`refused: ${error.message}`);
}
