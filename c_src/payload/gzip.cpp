#include "payload/gzip.hpp"

#include <zlib.h>

#include <limits>
#include <memory>

namespace offline_post {

std::optional<std::string> Gzip(std::string_view text) {
  constexpr int kLevel = 3;         // bodies are small and alike: more costs time and gains little
  constexpr int kWindow = 15 + 16;  // 32 KiB, and a gzip header without name and time
  constexpr int kMemory = 8;        // zlib's own default
  if (text.size() > std::numeric_limits<uInt>::max()) return std::nullopt;
  z_stream stream{};
  if (deflateInit2(&stream, kLevel, Z_DEFLATED, kWindow, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) {
    return std::nullopt;
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, deflateEnd);
  std::string out(text.size(), '\0');
  // zlib's interface takes what it only reads as if it wrote to it.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // NOLINT
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) return std::nullopt;
  out.resize(out.size() - stream.avail_out);
  return out;
}

}  // namespace offline_post
