/* What driver udp is compared with: packets of a TUN device in UDP, as Flannel's backend udp carries them, by a loop with
 * a call for each packet.
 *
 * pump DEVICE LOCAL PORT PREFIX/LENGTH=REMOTE…
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 16

struct way {
  uint32_t prefix, mask;
  struct sockaddr_in to;
};

static struct way ways[MOST];
static int count;

/* One hop less to live, the checksum patched; 0 where it has none left. */
static int pass_on(uint8_t *packet) {
  uint32_t sum;
  if (packet[8] <= 1)
    return 0;
  packet[8]--;
  sum = (packet[10] << 8 | packet[11]) + 0x100;
  sum = (sum + (sum >> 16)) & 0xffff;
  packet[10] = sum >> 8;
  packet[11] = sum & 0xff;
  return 1;
}

static struct sockaddr_in *find(uint32_t address) {
  for (int i = 0; i < count; i++)
    if ((address & ways[i].mask) == ways[i].prefix)
      return &ways[i].to;
  return NULL;
}

static int outward(int tun, int sock) {
  uint8_t packet[65536];
  uint32_t address;
  struct sockaddr_in *to;
  ssize_t octets = read(tun, packet, sizeof packet);
  if (octets < 20)
    return 0;
  memcpy(&address, packet + 16, 4);
  if (packet[0] >> 4 == 4 && (to = find(address)) && pass_on(packet))
    sendto(sock, packet, octets, 0, (struct sockaddr *)to, sizeof *to);
  return 1;
}

static int inward(int tun, int sock) {
  uint8_t packet[65536];
  ssize_t octets = recv(sock, packet, sizeof packet, 0);
  if (octets < 20)
    return 0;
  if (pass_on(packet) && write(tun, packet, octets) < 0)
    perror("write");
  return 1;
}

static void add(char *text, uint16_t port) {
  char *slash = strchr(text, '/'), *equals = strchr(text, '=');
  struct way *way = &ways[count++];
  *slash = *equals = 0;
  way->mask = htonl(~0u << (32 - atoi(slash + 1)));
  way->prefix = inet_addr(text) & way->mask;
  way->to = (struct sockaddr_in){AF_INET, htons(port), {inet_addr(equals + 1)}, {0}};
}

int main(int argc, char **argv) {
  struct ifreq request = {0};
  struct sockaddr_in local = {AF_INET, htons(atoi(argv[3])), {inet_addr(argv[2])}, {0}};
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK), sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(tun, TUNSETIFF, &request) || bind(sock, (struct sockaddr *)&local, sizeof local)) {
    perror(argv[1]);
    return 1;
  }
  for (int i = 4; i < argc && count < MOST; i++)
    add(argv[i], atoi(argv[3]));
  puts("ready");
  fflush(stdout);
  struct pollfd both[] = {{tun, POLLIN, 0}, {sock, POLLIN, 0}};
  for (;;) {
    if (poll(both, 2, -1) < 0)
      return 1;
    if (both[0].revents)
      while (outward(tun, sock))
        ;
    if (both[1].revents)
      while (inward(tun, sock))
        ;
  }
}
