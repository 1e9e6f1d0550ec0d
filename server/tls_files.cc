#include "server/tls_files.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

struct Release {
  void operator()(FILE* file) const { std::fclose(file); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using File = std::unique_ptr<FILE, Release>;
using Certificate = std::unique_ptr<X509, Release>;
using Key = std::unique_ptr<EVP_PKEY, Release>;

constexpr mode_t kEverybody = 07;

absl::StatusOr<File> Open(absl::string_view field, const std::string& path) {
  if (path.empty()) return BadField(field, "required");
  File file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) {
    return BadField(field, absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  }
  return file;
}

absl::StatusOr<Certificate> ReadCertificate(absl::string_view field, const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const File file, Open(field, path));
  Certificate certificate(PEM_read_X509(file.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) {
    return BadField(field, absl::StrCat(path, " is not a PEM certificate"));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    return BadField(field, absl::StrCat(path, " has expired"));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0) {
    return BadField(field, absl::StrCat(path, " is not valid yet"));
  }
  return certificate;
}

// A key with a passphrase has nobody to type it.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::StatusOr<Key> ReadKey(absl::string_view field, const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const File file, Open(field, path));
  struct stat facts = {};
  if (fstat(fileno(file.get()), &facts) != 0 || (facts.st_mode & kEverybody) != 0) {
    return BadField(field, absl::StrCat(path, " is open to everybody; chmod it to 0600"));
  }
  Key key(PEM_read_PrivateKey(file.get(), nullptr, &NoPassphrase, nullptr));
  if (key == nullptr) {
    return BadField(field, absl::StrCat(path, " is not a PEM key without a passphrase"));
  }
  return key;
}

}  // namespace

absl::Status CheckTlsFiles(absl::string_view field, const v1::Tls& tls) {
  const auto name = [field](absl::string_view member) { return absl::StrCat(field, ".", member); };
  ENGRAM_ASSIGN_OR_RETURN(const Certificate certificate,
                          ReadCertificate(name("certificate_file"), tls.certificate_file()));
  ENGRAM_ASSIGN_OR_RETURN(const Key key, ReadKey(name("key_file"), tls.key_file()));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return BadField(name("key_file"), absl::StrCat(tls.key_file(), " is not the key of ",
                                                   tls.certificate_file()));
  }
  if (tls.client_ca_file().empty()) return absl::OkStatus();
  return ReadCertificate(name("client_ca_file"), tls.client_ca_file()).status();
}

}  // namespace engram::server
