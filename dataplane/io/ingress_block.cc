#include "dataplane/io/ingress_block.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "dataplane/net/big_endian.h"

namespace podwire::io {
namespace {

// Before any other chain on the device's ingress.
constexpr std::int32_t kPriority = -500;

// One nfnetlink transaction: either all of it is done or nothing.
class Transaction {
 public:
  Transaction() : batch_(mnl_nlmsg_batch_start(buffer_.data(), buffer_.size() / 2)) {
    marker(NFNL_MSG_BATCH_BEGIN);
  }
  ~Transaction() { mnl_nlmsg_batch_stop(batch_); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  nlmsghdr* add(int message, std::uint16_t flags) {
    nlmsghdr* header = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(batch_));
    header->nlmsg_type = static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message);
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = ++sequence_;
    put_family(header, NFPROTO_NETDEV, 0);
    return header;
  }
  void next() { mnl_nlmsg_batch_next(batch_); }

  // Returns 0 or an errno value.
  int commit() {
    const unsigned requests = sequence_;
    marker(NFNL_MSG_BATCH_END);
    mnl_socket* socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (socket == nullptr) return errno;
    int error = 0;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(socket, mnl_nlmsg_batch_head(batch_), mnl_nlmsg_batch_size(batch_)) < 0) {
      error = errno;
    }
    for (unsigned answers = 0; error == 0 && answers < requests;) {
      error = read_answers(socket, answers);
    }
    mnl_socket_close(socket);
    return error;
  }

 private:
  static void put_family(nlmsghdr* header, std::uint8_t family, std::uint16_t resource) {
    auto* nf = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    nf->nfgen_family = family;
    nf->version = NFNETLINK_V0;
    nf->res_id = net::be16(resource).raw();
  }
  void marker(std::uint16_t type) {
    nlmsghdr* header = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(batch_));
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST;
    put_family(header, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    next();
  }
  static int read_answers(mnl_socket* socket, unsigned& answers) {
    std::array<char, 8192> answer;
    const auto length = mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (length < 0) return errno;
    int left = static_cast<int>(length);
    auto* header = reinterpret_cast<nlmsghdr*>(answer.data());
    for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type != NLMSG_ERROR) continue;
      const auto* result = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header));
      if (result->error != 0) return -result->error;
      ++answers;
    }
    return 0;
  }

  alignas(nlmsghdr) std::array<char, 8192> buffer_{};
  mnl_nlmsg_batch* batch_;
  unsigned sequence_ = 0;
};

std::string table_of(const std::string& device) {
  return "podwire-" + device;
}

void add_table(Transaction& transaction, int message, const std::string& device) {
  nlmsghdr* header = transaction.add(message, message == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
  mnl_attr_put_strz(header, NFTA_TABLE_NAME, table_of(device).c_str());
  transaction.next();
}

void add_chain(Transaction& transaction, const std::string& device) {
  nlmsghdr* header = transaction.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  mnl_attr_put_strz(header, NFTA_CHAIN_TABLE, table_of(device).c_str());
  mnl_attr_put_strz(header, NFTA_CHAIN_NAME, "ingress");
  mnl_attr_put_strz(header, NFTA_CHAIN_TYPE, "filter");
  mnl_attr_put_u32(header, NFTA_CHAIN_POLICY, net::be32(NF_DROP).raw());
  nlattr* hook = mnl_attr_nest_start(header, NFTA_CHAIN_HOOK);
  mnl_attr_put_u32(header, NFTA_HOOK_HOOKNUM, net::be32(NF_NETDEV_INGRESS).raw());
  mnl_attr_put_u32(header, NFTA_HOOK_PRIORITY,
                   net::be32(static_cast<std::uint32_t>(kPriority)).raw());
  mnl_attr_put_strz(header, NFTA_HOOK_DEV, device.c_str());
  mnl_attr_nest_end(header, hook);
  transaction.next();
}

}  // namespace

Result<IngressBlock> IngressBlock::put(const std::string& device) {
  Transaction transaction;
  // Made, deleted and made again: what a killed podwired left is replaced, whatever it was.
  add_table(transaction, NFT_MSG_NEWTABLE, device);
  add_table(transaction, NFT_MSG_DELTABLE, device);
  add_table(transaction, NFT_MSG_NEWTABLE, device);
  add_chain(transaction, device);
  if (const int error = transaction.commit(); error != 0) {
    return fail("uplink: cannot keep the kernel from handling frames of " + device +
                " (nftables netdev ingress chain: " + std::strerror(error) +
                "); a kernel with CONFIG_NF_TABLES_NETDEV and CAP_NET_ADMIN are needed");
  }
  return IngressBlock(device);
}

IngressBlock::~IngressBlock() {
  if (device_.empty()) return;
  Transaction transaction;
  add_table(transaction, NFT_MSG_DELTABLE, device_);
  // The device and its table may be gone already; then there is nothing left to do.
  static_cast<void>(transaction.commit());
}

}  // namespace podwire::io
