// cloudevent.js FILE: what the CloudEvents SDK makes of this POST. Prints a line for each event, its attributes and data
// as JSON, the names in their order; or `refused: why`.
'use strict';
const {readFileSync} = require('fs');
const {HTTP} = require('cloudevents');
const {readPost} = require('./post.js');

try {
  for (const event of [HTTP.toEvent(readPost(readFileSync(process.argv[2])))].flat()) {
    event.validate();
    const {id, source, specversion, type, time, subject, datacontenttype, data} = event;
    console.log(JSON.stringify({id, source, specversion, type, time, subject, datacontenttype, data}));
  }
} catch (error) {
  console.log(`refused: ${error.message}`);
}
