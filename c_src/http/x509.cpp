#include "http/x509.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace offline_post {

namespace {

constexpr std::size_t kLongestSubject = 120;

}  // namespace

std::string LastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? std::string(" (") + reason + ")" : "";
}

OpenSslPtr<BIO> ReadOnly(std::string_view text) {
  return OpenSslPtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  std::array<char, 64> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return {text.data(), size};
}

std::string SubjectText(const X509* certificate) {
  const X509_NAME* name = X509_get_subject_name(certificate);
  std::array<char, 256> text{};
  if (X509_NAME_get_text_by_NID(const_cast<X509_NAME*>(name), NID_commonName, text.data(),
                                static_cast<int>(text.size())) <= 0 &&
      X509_NAME_oneline(name, text.data(), static_cast<int>(text.size())) == nullptr) {
    return "?";
  }
  return Printable(text.data(), kLongestSubject);
}

std::string Printable(std::string_view text, std::size_t limit) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

}  // namespace offline_post
