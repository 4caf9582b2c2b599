// libcurl's parser of URLs, so that what we read of one is what libcurl will do with it.
//
// Threads: any.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

namespace offline_post {

class Url {
 public:
  Url() : handle_(curl_url()) {}

  // Why it is none; empty: it is one. Never repeats the text.
  std::string Parse(const std::string& text) {
    if (!handle_) return "out of memory";
    const CURLUcode code = curl_url_set(handle_.get(), CURLUPART_URL, text.c_str(), 0);
    return code == CURLUE_OK ? "" : curl_url_strerror(code);
  }

  // Why no request can be sent to the URL's host; empty: it can. libcurl percent-decodes the host,
  // and translates what is beyond ASCII by the locale of the process: not at all in that of C.
  std::string HostTrouble() const {
    for (const char c : Part(CURLUPART_HOST)) {
      if (c <= ' ' || c > '~')
        return "names a host with letters beyond ASCII: write it in punycode (xn--...), as "
               "`idn2 NAME` prints it";
    }
    return "";
  }

  // Empty: it has none, or what it has cannot be decoded.
  std::string Part(CURLUPart part, unsigned flags = CURLU_DEFAULT_PORT) const {
    char* raw = nullptr;
    if (curl_url_get(handle_.get(), part, &raw, flags) != CURLUE_OK) return "";
    const std::unique_ptr<char, Free> text(raw);
    return text.get();
  }

 private:
  struct Cleanup {
    void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
  };
  struct Free {
    void operator()(char* text) const noexcept { curl_free(text); }
  };
  std::unique_ptr<CURLU, Cleanup> handle_;
};

}  // namespace offline_post
