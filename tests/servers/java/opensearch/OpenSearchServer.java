import java.nio.file.Path;
import java.util.List;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.knn.plugin.KNNPlugin;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** One OpenSearch node on 127.0.0.1. Arguments: its folder, its HTTP port. It ends with its standard input. */
public final class OpenSearchServer extends Node {
    private OpenSearchServer(Settings settings) {
        super(new Environment(settings, null), List.of(Netty4Plugin.class, KNNPlugin.class), false);
    }

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", Path.of(arguments[0]).toString())
            .put("cluster.name", "contract-tests")
            .put("node.name", "only")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", "0")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        try (Node node = new OpenSearchServer(settings)) {
            node.start();
            System.out.println("ready");
            while (System.in.read() >= 0) { }
        }
        System.exit(0);
    }
}
