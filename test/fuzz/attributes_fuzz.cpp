// What stands on a disk for an event's attributes: any text is read without harm, and what we wrote
// is read as it was.
#include "outbox/attributes.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

bool Same(const std::vector<Attribute>& a, const std::vector<Attribute>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Attribute& x, const Attribute& y) {
                      return x.name == y.name && x.value == y.value;
                    });
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post;
  using namespace offline_post::fuzz;
  FuzzedDataProvider input(data, size);
  if (input.ConsumeBool()) {
    std::vector<Attribute> read = ReadAttributes(input.ConsumeRemainingBytesAsString());
    std::vector<Attribute> storable = read;
    MakeStorable(storable);
    Require(Same(ReadAttributes(AttributesText(storable)), storable), "what is storable is kept");
    return 0;
  }
  std::vector<Attribute> attributes(input.ConsumeIntegralInRange<std::size_t>(0, 5));
  for (Attribute& attribute : attributes) attribute = {AnyText(input), AnyText(input)};
  MakeStorable(attributes);
  Require(Same(ReadAttributes(AttributesText(attributes)), attributes), "a disk changes nothing");
  return 0;
}
