package com.aether.ipc.benchmark;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;

/** A folder for files that are mapped: in memory where the system has such a place. */
final class Folder {
    private Folder() {}

    static Path create() throws IOException {
        Path memory = Path.of("/dev/shm");
        return Files.isDirectory(memory)
                ? Files.createTempDirectory(memory, "aether-benchmark")
                : Files.createTempDirectory("aether-benchmark");
    }

    static void delete(Path folder) throws IOException {
        List<Path> files;
        try (var walk = Files.walk(folder)) {
            files = walk.sorted(Comparator.reverseOrder()).toList();
        }
        for (Path file : files) {
            Files.deleteIfExists(file);
        }
    }
}
