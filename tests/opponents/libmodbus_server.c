/* A Modbus server by libmodbus: `server tcp UNIT` or `server rtu UNIT DEVICE`. Registers on stdin, one a line:
   `h ADDRESS WORD` (holding) or `i ADDRESS WORD` (input), then `.`. Says `ready PORT` when it serves.
   Addresses that were not named hold 0; libmodbus knows no holes. */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **words) {
  int tcp = count > 2 && !strcmp(words[1], "tcp"), port = 0, listener = -1, length;
  modbus_t *bus = tcp ? modbus_new_tcp("127.0.0.1", 0) : modbus_new_rtu(words[3], 9600, 'N', 8, 1);
  modbus_mapping_t *map = modbus_mapping_new(1, 1, 65536, 65536);
  uint8_t query[MODBUS_MAX_ADU_LENGTH];
  unsigned address, word;
  char kind;

  while (scanf(" %c", &kind) == 1 && kind != '.' && scanf("%u %u", &address, &word) == 2)
    (kind == 'h' ? map->tab_registers : map->tab_input_registers)[address] = word;
  modbus_set_slave(bus, atoi(words[2]));
  if (tcp) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    listener = modbus_tcp_listen(bus, 1);
    getsockname(listener, (struct sockaddr *)&name, &size);
    port = ntohs(name.sin_port);
  } else if (modbus_connect(bus) == -1) {
    fprintf(stderr, "%s\n", modbus_strerror(errno));
    return 1;
  }
  printf("ready %d\n", port);
  fflush(stdout);
  do {
    if (tcp && modbus_tcp_accept(bus, &listener) == -1) return 1;
    while ((length = modbus_receive(bus, query)) >= 0)
      if (length > 0) modbus_reply(bus, query, length, map);
    if (tcp) modbus_close(bus);
  } while (1);
}
