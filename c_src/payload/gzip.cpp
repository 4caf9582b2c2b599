#include "payload/gzip.hpp"

#include <zlib.h>

#include <limits>
#include <memory>
#include <mutex>
#include <utility>

namespace offline_post {

namespace {

constexpr int kLevel = 3;         // bodies are small and alike: more costs time and gains little
constexpr int kWindow = 15 + 16;  // 32 KiB, and a gzip header without name and time
constexpr int kMemory = 8;        // zlib's own default

struct EndStream {
  void operator()(z_stream* stream) const {
    deflateEnd(stream);
    delete stream;  // NOLINT(cppcoreguidelines-owning-memory): it is the deleter
  }
};
using Stream = std::unique_ptr<z_stream, EndStream>;

Stream NewStream() {
  auto stream = std::make_unique<z_stream>();
  *stream = {};
  if (deflateInit2(stream.get(), kLevel, Z_DEFLATED, kWindow, kMemory, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    return nullptr;
  }
  return Stream(stream.release());
}

// The state that one body leaves for the next: making it costs five times as much as compressing a
// small body with it. One for the process, 256 KiB. Whoever finds it in use makes one of its own.
struct Kept {
  std::mutex mutex;
  Stream stream;  // guarded by mutex
};

// Never destroyed: at the end of the process threads may still use it.
Kept& TheKept() {
  static Kept& kept = *new Kept;  // NOLINT(cppcoreguidelines-owning-memory)
  return kept;
}

Stream TakeStream() {
  Stream stream;
  {
    const std::lock_guard lock(TheKept().mutex);
    stream.swap(TheKept().stream);
  }
  if (stream && deflateReset(stream.get()) == Z_OK) return stream;
  return NewStream();
}

void KeepStream(Stream stream) {
  const std::lock_guard lock(TheKept().mutex);
  stream.swap(TheKept().stream);
}

}  // namespace

std::optional<std::string> Gzip(std::string_view text) {
  if (text.size() > std::numeric_limits<uInt>::max()) return std::nullopt;
  std::string out(text.size(), '\0');
  Stream stream = TakeStream();
  if (!stream) return std::nullopt;
  // zlib's interface takes what it only reads as if it wrote to it.
  stream->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // NOLINT
  stream->avail_in = static_cast<uInt>(text.size());
  stream->next_out = reinterpret_cast<Bytef*>(out.data());
  stream->avail_out = static_cast<uInt>(out.size());
  const bool shorter = deflate(stream.get(), Z_FINISH) == Z_STREAM_END;
  const std::size_t left = stream->avail_out;
  KeepStream(std::move(stream));
  if (!shorter) return std::nullopt;
  out.resize(out.size() - left);
  out.shrink_to_fit();  // a request in flight is counted by its bytes
  return out;
}

}  // namespace offline_post
