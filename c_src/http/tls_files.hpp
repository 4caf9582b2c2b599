// From the files that an operator named to a TlsIdentity.
//
// Threads: any; reads files.
#pragma once

#include <string>

#include "http/authorities.hpp"
#include "model/clock.hpp"
#include "model/endpoint.hpp"
#include "model/result.hpp"

namespace offline_post {

struct TlsFiles {
  bool verify = true;
  std::string ca_file;      // empty: the system's authorities
  std::string client_cert;  // PEM, our certificate and what leads to an authority; empty: none
  std::string client_key;   // PEM, without a pass phrase; empty: in client_cert
};

// Reads and checks them: certificates that can be parsed and are fit for TLS, a key that belongs to
// the certificate. The error names the option and the file, never what a key file holds. A
// certificate that has expired is no error: see CertificateTrouble.
Result<TlsIdentity> ReadTlsFiles(const TlsFiles& files);

// "has expired on 2026-11-20 10:11:12 UTC", "is valid only from ..."; empty: nothing is wrong with
// our certificate's time, or there is none.
std::string CertificateTrouble(const TlsIdentity& identity, Millis unix_now_ms);

}  // namespace offline_post
