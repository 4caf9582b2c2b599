// HTTP/2 said by hand over a TlsConnection, also against the rules: frames in, frames out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/tls_server.hpp"

namespace offline_post::test {

// RFC 9113, 6.
enum class FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
};
inline constexpr std::uint8_t kEndStream = 1;
inline constexpr std::uint8_t kAck = 1;
inline constexpr std::uint8_t kEndHeaders = 4;

inline std::string Number(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string Frame(FrameType type, int flags, std::uint32_t stream,
                         const std::string& payload) {
  return Number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
         Number(stream, 4) + payload;
}

// A final head; RFC 7541, 6.2.2: literals that nobody remembers.
inline std::string Http2Head(std::uint32_t stream, int status,
                             const std::vector<std::pair<std::string, std::string>>& fields,
                             bool end) {
  const auto literal = [](const std::string& text) {
    return static_cast<char>(text.size()) + text;
  };
  std::string block = std::string(1, '\x08') + literal(std::to_string(status));  // :status
  for (const auto& [name, value] : fields)
    block += std::string(1, '\0') + literal(name) + literal(value);
  return Frame(FrameType::kHeaders, kEndHeaders | (end ? kEndStream : 0), stream, block);
}

inline std::string Http2Reset(std::uint32_t stream, std::uint32_t error) {
  return Frame(FrameType::kReset, 0, stream, Number(error, 4));
}

inline std::string Http2GoAway(std::uint32_t last_stream) {
  return Frame(FrameType::kGoAway, 0, 0, Number(last_stream, 4) + Number(0, 4));
}

// What to say to each request, when its body is whole; with `at_head`, already before it.
using Http2Answer = std::function<std::string(int connection, std::uint32_t stream)>;

inline TlsServer::Handler Http2(Http2Answer answer, bool at_head = false,
                                const std::string& settings = "") {
  return [answer = std::move(answer), at_head, settings](TlsConnection& connection) {
    if (!connection.Read(24).starts_with("PRI * HTTP/2.0")) return;
    connection.Write(Frame(FrameType::kSettings, 0, 0, settings));
    while (true) {
      const std::string head = connection.Read(9);
      if (head.size() < 9) return;
      const auto byte = [&head](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(head[i]));
      };
      const std::size_t size = (byte(0) << 16U) | (byte(1) << 8U) | byte(2);
      const auto type = static_cast<FrameType>(byte(3));
      const std::uint32_t stream = (byte(5) << 24U) | (byte(6) << 16U) | (byte(7) << 8U) | byte(8);
      connection.Read(size);
      const bool last = (byte(4) & kEndStream) != 0;
      const bool body = type == FrameType::kData && last;
      if (type == FrameType::kSettings && (byte(4) & kAck) == 0)
        connection.Write(Frame(FrameType::kSettings, kAck, 0, ""));
      if (at_head ? type == FrameType::kHeaders : body || (type == FrameType::kHeaders && last))
        connection.Write(answer(connection.number(), stream));
    }
  };
}

}  // namespace offline_post::test
