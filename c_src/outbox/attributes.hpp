// An event's attributes as they stand on a disk: the text of one JSON object with a string per
// attribute, in their order; no text for none.
//
// Threads: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/event.hpp"

namespace offline_post {

std::string AttributesText(const std::vector<Attribute>& attributes);

// What AttributesText was given, if that was storable. Of a text that is no such object: nothing.
std::vector<Attribute> ReadAttributes(std::string_view text);

// JSON is UTF-8, and has a name once: what is not UTF-8 becomes U+FFFD, and of values with one name
// the last stays. For before an event is counted: EventBytes must not change on a disk.
void MakeStorable(std::vector<Attribute>& attributes);

}  // namespace offline_post
