import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.api.KlingApi;
import org.openapitools.client.api.MoneyApi;
import org.openapitools.client.api.TasksApi;
import org.openapitools.client.model.KlingTask;
import org.openapitools.client.model.QuoteRequest;
import org.openapitools.client.model.QuotedVideosText2videoOrder;
import org.openapitools.client.model.TaskDetail;
import org.openapitools.client.model.VideosText2videoOrder;

/** Orders, looks up and lists, and prints what it read. */
public final class Client {
    public static void main(String[] arguments) throws Exception {
        var client = new ApiClient();
        client.updateBaseUri(System.getenv("RELAY_URL"));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + System.getenv("RELAY_KEY")));
        var kling = new KlingApi(client);
        var tasks = new TasksApi(client);
        var money = new MoneyApi(client);

        var quoted = new QuotedVideosText2videoOrder()
            .operation(QuotedVideosText2videoOrder.OperationEnum.VIDEOS_TEXT2VIDEO)
            .prompt("a rabbit")
            .duration(QuotedVideosText2videoOrder.DurationEnum._10);
        String quote = money.quote(new QuoteRequest(quoted)).getAmount();
        var order = new VideosText2videoOrder().prompt("a rabbit").duration(VideosText2videoOrder.DurationEnum._10);
        KlingTask ordered = kling.orderVideosText2video(order, null, null).getData();
        String task = ordered.getTaskId();
        TaskDetail detail = tasks.showTask(task, 20.0);
        KlingTask shown = kling.showVideosText2video(task).getData();
        List<KlingTask> listed = kling.listVideosText2video(1L, 5L).getData();
        var since = OffsetDateTime.parse("2026-01-01T00:00:00Z");
        var found = tasks.listTasks(5L, null, null, null, since, null, null).getData();

        var report = new HashMap<String, Object>();
        report.put("quoted", quote);
        report.put("task_id", task);
        report.put("created_at", ordered.getCreatedAt());
        report.put("charged", detail.getCharge().getCharged());
        report.put("expires_at", detail.getExpiresAt());
        report.put("external_task_id", detail.getExternalTaskId());
        report.put("submission", detail.getSubmission());
        report.put("task_status", shown.getTaskStatus().getValue());
        report.put("listed", listed.get(0).getTaskId());
        report.put("found", found.get(0).getTaskId());
        System.out.println(new ObjectMapper().writeValueAsString(report));
    }
}
