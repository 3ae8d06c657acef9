import java.nio.file.Path;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;

/** One Elasticsearch node on 127.0.0.1. Arguments: its folder, its HTTP port. It ends with its standard input. */
public final class ElasticsearchServer {
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
        LogConfigurator.setNodeName("only");
        LogConfigurator.configureESLogging();
        try (Node node = new Node(new Environment(settings, Path.of(arguments[0], "config")))) {
            node.start();
            System.out.println("ready");
            while (System.in.read() >= 0) { }
        }
        System.exit(0);
    }
}
