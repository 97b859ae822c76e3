/**
 * Messages from one process to another on the same machine, through a ring in a memory-mapped file.
 *
 * <p>Run with {@code --enable-native-access=com.aether.ipc}, or {@code --enable-native-access=ALL-UNNAMED} on the class
 * path.
 */
module com.aether.ipc {
    exports com.aether.ipc;
}
