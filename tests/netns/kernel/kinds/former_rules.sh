nft add table inet weft
nft 'add set inet weft cluster-tunnels { type inet_service; }'
nft 'add set inet weft control-ports { type inet_service; }'
nft 'add set inet weft known-hosts4 { type ipv4_addr; }'
nft 'add set inet weft hosts4 { type ipv4_addr; }'
nft 'add set inet weft control4 { type ipv4_addr . inet_service; }'
nft 'add set inet weft known-hosts6 { type ipv6_addr; }'
nft 'add set inet weft hosts6 { type ipv6_addr; }'
nft 'add set inet weft control6 { type ipv6_addr . inet_service; }'
nft 'add set inet weft tunnel-ports { type inet_service; }'
nft 'add set inet weft vnis { typeof udp dport . @th,96,24; }'
nft 'add set inet weft cluster4 { type ipv4_addr; flags interval; }'
nft 'add set inet weft cluster6 { type ipv6_addr; flags interval; }'
nft 'add set inet weft masquerade4 { type ipv4_addr; flags interval; }'
nft 'add set inet weft masquerade6 { type ipv6_addr; flags interval; }'
nft 'add element inet weft control-ports { 179 }'
nft 'add element inet weft cluster4 { 40.15.0.0/16 }'
nft 'add element inet weft cluster6 { fd40:15::/48 }'
nft 'add element inet weft masquerade4 { 40.15.0.0/16 }'
nft 'add element inet weft masquerade6 { fd40:15::/48 }'
nft 'add element inet weft tunnel-ports { 8472 }'
nft 'add element inet weft vnis { 8472 . 0x1 }'
nft 'add chain inet weft here; add rule inet weft here meta l4proto { 4, 41, 47 } drop; add rule inet weft here udp dport @cluster-tunnels drop; add rule inet weft here tcp dport @control-ports drop'
nft 'add chain inet weft elsewhere; add rule inet weft elsewhere iifgroup != 87-88 return; add rule inet weft elsewhere meta l4proto { 4, 41, 47 } drop; add rule inet weft elsewhere udp dport @cluster-tunnels drop; add rule inet weft elsewhere ip daddr . tcp dport @control4 drop; add rule inet weft elsewhere ip6 daddr . tcp dport @control6 drop'
nft 'add chain inet weft tunnelled; add rule inet weft tunnelled ip saddr @known-hosts4 ip daddr 192.168.1.68 return; add rule inet weft tunnelled ip6 saddr @known-hosts6 ip6 daddr fd01:a::68 return; add rule inet weft tunnelled udp dport . @th,96,24 @vnis drop'
nft 'add chain inet weft input { type filter hook input priority filter; policy accept; }; add rule inet weft input iifgroup 87-88 jump here; add rule inet weft input udp dport @tunnel-ports jump tunnelled'
nft 'add chain inet weft to-hosts { type filter hook forward priority filter; policy accept; }; add rule inet weft to-hosts ip daddr @hosts4 jump elsewhere; add rule inet weft to-hosts ip6 daddr @hosts6 jump elsewhere'
nft 'add chain inet weft postrouting { type nat hook postrouting priority srcnat; policy accept; }; add rule inet weft postrouting ip saddr @masquerade4 ip daddr != @cluster4 ip daddr != 224.0.0.0/4 masquerade fully-random; add rule inet weft postrouting ip6 saddr @masquerade6 ip6 daddr != @cluster6 ip6 daddr != ff00::/8 masquerade fully-random'
nft add table bridge weft
nft 'add chain bridge weft advertisements { type filter hook forward priority filter; policy accept; }; add rule bridge weft advertisements icmpv6 type nd-router-advert iifname "weft*" drop; add rule bridge weft advertisements vlan id 0 iifname "weft*" drop; add rule bridge weft advertisements ether type 8021ad vlan id 0 iifname "weft*" drop'
nft 'add chain inet weft raw-prerouting { type filter hook prerouting priority raw; policy accept; }; add rule inet weft raw-prerouting iifname != "weft*" udp dport @tunnel-ports notrack'
nft 'add chain inet weft raw-output { type filter hook output priority raw; policy accept; }; add rule inet weft raw-output udp dport @tunnel-ports notrack'
iptables-nft -w -t filter -N WEFT-FORWARD
iptables-nft -w -t filter -A WEFT-FORWARD -i weft+ -j ACCEPT
iptables-nft -w -t filter -A WEFT-FORWARD -o weft+ -j ACCEPT
iptables-nft -w -t filter -I FORWARD 1 -j WEFT-FORWARD
ip6tables-nft -w -t filter -N WEFT-FORWARD
ip6tables-nft -w -t filter -A WEFT-FORWARD -i weft+ -j ACCEPT
ip6tables-nft -w -t filter -A WEFT-FORWARD -o weft+ -j ACCEPT
ip6tables-nft -w -t filter -I FORWARD 1 -j WEFT-FORWARD
nft 'add element inet weft known-hosts4 { 192.168.1.254 }'
nft 'add element inet weft hosts4 { 192.168.1.254 }'
nft 'add element inet weft control4 { 192.168.1.254 . 179 }'
nft 'add element inet weft known-hosts6 { fd01:a::254 }'
nft 'add element inet weft hosts6 { fd01:a::254 }'
nft 'add element inet weft control6 { fd01:a::254 . 179 }'
nft 'add element inet weft hosts4 { 40.15.26.0 }'
nft 'add element inet weft control4 { 40.15.26.0 . 179 }'
nft 'add element inet weft hosts4 { 40.15.26.1 }'
nft 'add element inet weft control4 { 40.15.26.1 . 179 }'
nft 'add element inet weft hosts6 { fd40:15:0:26:: }'
nft 'add element inet weft control6 { fd40:15:0:26:: . 179 }'
nft 'add element inet weft hosts6 { fd40:15:0:26::1 }'
nft 'add element inet weft control6 { fd40:15:0:26::1 . 179 }'
