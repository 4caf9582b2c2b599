#include "http/authorities.hpp"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>

namespace offline_post {

namespace {

using Shared = Authorities::Shared;

// What tells that a file was changed; none: it must be read again.
using Stamp = std::array<std::int64_t, 7>;

// A file that was changed a moment ago may be changed again within the clock's resolution.
constexpr std::int64_t kSettledS = 2;

std::optional<Stamp> StampOf(const std::string& path) {
  struct stat status {};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  if (status.st_ctim.tv_sec + kSettledS >= std::time(nullptr)) return std::nullopt;
  return Stamp{static_cast<std::int64_t>(status.st_dev),
               static_cast<std::int64_t>(status.st_ino),
               status.st_size,
               status.st_mtim.tv_sec,
               status.st_mtim.tv_nsec,
               status.st_ctim.tv_sec,
               status.st_ctim.tv_nsec};
}

struct Known {
  Stamp stamp;
  Stamp directory;
  std::weak_ptr<const Authorities> authorities;
};

// What somebody holds, and what the files were that it came from.
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<const Authorities>> by_digest;  // guarded by mutex
  std::map<std::string, Known> by_path;                               // guarded by mutex
};

Registry& Shelf() {
  static Registry registry;
  return registry;
}

Shared Find(const std::string& digest) {
  const std::lock_guard lock(Shelf().mutex);
  const auto found = Shelf().by_digest.find(digest);
  return found == Shelf().by_digest.end() ? nullptr : found->second.lock();
}

// Another thread may have parsed the same in the meantime: then its store stays.
Shared Keep(OpenSslPtr<X509_STORE> store, const std::string& digest) {
  const std::lock_guard lock(Shelf().mutex);
  std::erase_if(Shelf().by_digest, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(Shelf().by_path,
                [](const auto& entry) { return entry.second.authorities.expired(); });
  std::weak_ptr<const Authorities>& kept = Shelf().by_digest[digest];
  Shared shared = kept.lock();
  if (!shared) {
    shared = std::make_shared<const Authorities>(std::move(store), digest);
    kept = shared;
  }
  return shared;
}

Shared Unchanged(const std::string& path, const Stamp& stamp, const Stamp& directory) {
  const std::lock_guard lock(Shelf().mutex);
  const auto found = Shelf().by_path.find(path);
  if (found == Shelf().by_path.end() || found->second.stamp != stamp ||
      found->second.directory != directory) {
    return nullptr;
  }
  return found->second.authorities.lock();
}

void Remember(const std::string& path, const Stamp& stamp, const Stamp& directory,
              const Shared& authorities) {
  const std::lock_guard lock(Shelf().mutex);
  Shelf().by_path[path] = {stamp, directory, authorities};
}

std::string Digest(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), bytes.data(), &size, EVP_sha256(), nullptr) != 1)
    throw std::bad_alloc();
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += kDigits[bytes.at(i) >> 4U];
    out += kDigits[bytes.at(i) & 15U];
  }
  return out;
}

// The flags are libcurl's own.
OpenSslPtr<X509_STORE> NewStore() {
  OpenSslPtr<X509_STORE> store(X509_STORE_new());
  if (!store) throw std::bad_alloc();
  X509_STORE_set_flags(store.get(), X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
  return store;
}

OpenSslPtr<X509> Next(BIO* bio) {
  return OpenSslPtr<X509>(PEM_read_bio_X509_AUX(bio, nullptr, nullptr, nullptr));
}

void AddAll(X509_STORE* store, std::string_view pem) {
  const OpenSslPtr<BIO> bio = ReadOnly(pem);
  while (const OpenSslPtr<X509> certificate = Next(bio.get()))
    X509_STORE_add_cert(store, certificate.get());
}

struct SystemPaths {
  std::string file;
  std::string directory;
};

SystemPaths FindSystem() {
  SystemPaths paths;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  char* text = nullptr;
  if (curl_easy_getinfo(easy.get(), CURLINFO_CAINFO, &text) == CURLE_OK && text != nullptr)
    paths.file = text;
  text = nullptr;
  if (curl_easy_getinfo(easy.get(), CURLINFO_CAPATH, &text) == CURLE_OK && text != nullptr)
    paths.directory = text;
  return paths;
}

SystemPaths& OfSystem() {
  static SystemPaths paths = FindSystem();
  return paths;
}

// The directory is read by OpenSSL when it looks for an authority that the file does not hold.
void AddSystem(X509_STORE* store) {
  const SystemPaths& system = OfSystem();
  if (!system.file.empty()) X509_STORE_load_file(store, system.file.c_str());
  if (!system.directory.empty()) X509_STORE_load_path(store, system.directory.c_str());
}

std::string Text(const std::optional<Stamp>& stamp) {
  std::string out;
  if (stamp) {
    for (const std::int64_t number : *stamp) out += std::to_string(number) + " ";
  }
  return out;
}

std::string NotPem(const std::string& what) {
  return what +
         ": no certificate in PEM format (in DER? `openssl x509 -inform der -in FILE` converts)";
}

}  // namespace

Status CheckTlsLibrary() {
  const char* const version = curl_version_info(CURLVERSION_NOW)->ssl_version;
  const std::string library = version != nullptr ? version : "none";
  // Of several libraries, those that are not in use stand in parentheses.
  if (library.find("OpenSSL/") != std::string::npos &&
      library.find("(OpenSSL/") == std::string::npos)
    return std::nullopt;
  return Error{Error::Kind::kUnavailable,
               "libcurl's TLS library is " + library +
                   ", and https needs OpenSSL: install the libcurl that is built with OpenSSL "
                   "(Debian: libcurl4)"};
}

Result<std::string> ReadTlsFile(const std::string& option, const std::string& path) {
  const std::string what = option + " " + path;
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  // Not what may block: a pipe, a terminal.
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return Invalid(what + ": is no regular file");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text;
  std::array<char, 16'384> part{};
  while (in && text.size() <= kTlsFileLimit) {
    in.read(part.data(), part.size());
    text.append(part.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (text.size() > kTlsFileLimit) return Invalid(what + ": is larger than 4 MiB");
  if (!in.eof() || in.bad())
    return Invalid(what + ": " + std::generic_category().message(errno != 0 ? errno : EIO));
  text.shrink_to_fit();
  return text;
}

Status CheckCertificates(const std::string& what, std::string_view pem) {
  const OpenSslPtr<BIO> bio = ReadOnly(pem);
  int count = 0;
  while (Next(bio.get())) ++count;
  // The end is an error too: no line that begins one.
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    return Invalid(what + ": holds a certificate that cannot be read" + LastReason());
  if (count == 0) return Invalid(NotPem(what));
  return std::nullopt;
}

Result<Shared> Authorities::FromFile(const std::string& option, const std::string& path) {
  const std::optional<Stamp> stamp = StampOf(path);
  if (stamp) {
    if (Shared same = Unchanged(path, *stamp, {})) return same;
  }
  Result<std::string> pem = ReadTlsFile(option, path);
  if (!pem.ok()) return pem.error();
  const std::string digest = Digest(pem.value());
  Shared shared = Find(digest);
  if (!shared) {
    const QuietErrors quiet;
    if (Status status = CheckCertificates(option + " " + path, pem.value())) return *status;
    OpenSslPtr<X509_STORE> store = NewStore();
    AddAll(store.get(), pem.value());
    shared = Keep(std::move(store), digest);
  }
  if (stamp) Remember(path, *stamp, {}, shared);
  return shared;
}

void Authorities::SetSystem(const std::string& file, const std::string& directory) {
  OfSystem() = {file, directory};
}

Shared Authorities::System() {
  const SystemPaths& system = OfSystem();
  const std::optional<Stamp> file = StampOf(system.file);
  const std::optional<Stamp> directory = StampOf(system.directory);
  const Stamp no_file{};
  if (Shared same = Unchanged("", file.value_or(no_file), directory.value_or(no_file))) return same;
  // A directory is told by its time alone: its files are found by their names.
  Result<std::string> pem = ReadTlsFile("system", system.file);
  const std::string digest = Digest((pem.ok() ? pem.value() : "") + "\nsystem " + Text(directory) +
                                    system.file + " " + system.directory);
  Shared shared = Find(digest);
  if (!shared) {
    const QuietErrors quiet;
    OpenSslPtr<X509_STORE> store = NewStore();
    AddSystem(store.get());
    shared = Keep(std::move(store), digest);
  }
  if (file || directory) Remember("", file.value_or(no_file), directory.value_or(no_file), shared);
  return shared;
}

Shared Authorities::WithSystem(const Shared& own) {
  const Shared system = System();
  const std::string digest = Digest(own->digest() + system->digest());
  if (Shared same = Find(digest)) return same;
  const QuietErrors quiet;
  OpenSslPtr<X509_STORE> store = NewStore();
  AddSystem(store.get());
  STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(own->store_.get());
  for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
    X509* certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
    if (certificate != nullptr) X509_STORE_add_cert(store.get(), certificate);
  }
  return Keep(std::move(store), digest);
}

}  // namespace offline_post
