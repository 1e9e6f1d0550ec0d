// The gRPC listener's socket, ours: gRPC 1.51 has no cap on connections, and one that ran out of
// files never accepts again (promises.md F10). We accept, count, and hand the connection over;
// beyond the cap it is closed before a byte of it is read.
//
// A second descriptor of each connection stays here and is only watched: gRPC shuts a socket down
// in both directions before it closes it, which is how we learn that its place is free.
//
// Threading: one thread of its own from Serve to Stop; the rest from the owner's thread.
// Ownership: owns the listening sockets and the watched descriptors; the ledger outlives it.
// Failure of Listen: UNAVAILABLE when an address is unknown or taken. Without a free file it
//   accepts again as soon as there is one.
// Bounds: limits.connections; two files each.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "grpcpp/server_builder.h"
#include "server/config.h"
#include "server/quota.h"

namespace engram::server {

class ConnectionAcceptor {
 public:
  using Server = grpc::experimental::ExternalConnectionAcceptor;

  // Bound, not yet accepting. `listen` is what `address` was parsed from.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Listen(const std::string& listen,
                                                                    const ListenAddress& address,
                                                                    QuotaLedger* ledger);
  ~ConnectionAcceptor() { Stop(); }

  // `listen` with the port really bound.
  const std::string& address() const { return address_; }
  void Serve(std::unique_ptr<Server> server);
  // Accepts no more and closes the listener; open connections stay, uncounted.
  void Stop();

 private:
  // A descriptor, closed with its owner.
  class File {
   public:
    explicit File(int number = -1) : number_(number) {}
    File(File&& other) noexcept : number_(other.Release()) {}
    File& operator=(File&& other) noexcept;
    ~File();
    int number() const { return number_; }
    bool open() const { return number_ >= 0; }
    int Release();

   private:
    int number_;
  };
  struct Connection {
    File watched;
    Hold place;
  };

  explicit ConnectionAcceptor(QuotaLedger* ledger) : ledger_(ledger) {}

  absl::Status ListenOnPath(const std::string& path);
  absl::Status ListenOnPort(const ListenAddress& address);
  absl::Status AddListener(File listener);
  bool Watch(int number, uint32_t events) const;
  void Run();
  void Accept(int listener);
  void Take(File accepted, int listener);
  void Refuse(const absl::Status& reason);

  QuotaLedger* const ledger_;
  std::string address_;
  std::string path_;  // of a unix socket
  std::vector<File> listeners_;
  File poll_;
  File stop_;
  std::unique_ptr<Server> server_;
  absl::flat_hash_map<int, Connection> open_;  // by the watched descriptor; of the thread
  uint64_t refused_ = 0;                       // of the thread
  absl::Duration told_ = -absl::InfiniteDuration();
  std::thread thread_;
};

}  // namespace engram::server
