// Orders, looks up and lists with the client that oapi-codegen makes, and prints what it read.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"kling-relay-go-client/relay"
)

// must returns the body of a successful response.
func must[Body any](body *Body, response *http.Response, err error) *Body {
	if err != nil {
		panic(err)
	}
	if body == nil {
		panic(response.Status)
	}
	return body
}

func main() {
	ctx := context.Background()
	withKey := relay.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("RELAY_KEY"))
		return nil
	})
	client, err := relay.NewClientWithResponses(os.Getenv("RELAY_URL"), withKey)
	if err != nil {
		panic(err)
	}
	duration := relay.VideosText2videoOrderDurationN10
	quotedDuration := relay.QuotedVideosText2videoOrderDurationN10
	var request relay.QuoteRequest
	if err := request.FromQuotedVideosText2videoOrder(relay.QuotedVideosText2videoOrder{Prompt: "a rabbit", Duration: &quotedDuration}); err != nil {
		panic(err)
	}
	quoting, err := client.QuoteWithResponse(ctx, request)
	quote := must(quoting.JSON200, quoting.HTTPResponse, err)
	order := relay.VideosText2videoOrder{Prompt: "a rabbit", Duration: &duration}
	ordering, err := client.OrderVideosText2videoWithResponse(ctx, nil, order)
	ordered := must(ordering.JSON200, ordering.HTTPResponse, err).Data
	wait := 20.0
	detailing, err := client.ShowTaskWithResponse(ctx, ordered.TaskId, &relay.ShowTaskParams{Wait: &wait})
	detail := must(detailing.JSON200, detailing.HTTPResponse, err)
	showing, err := client.ShowVideosText2videoWithResponse(ctx, ordered.TaskId)
	shown := must(showing.JSON200, showing.HTTPResponse, err).Data
	size := int64(5)
	listing, err := client.ListVideosText2videoWithResponse(ctx, &relay.ListVideosText2videoParams{PageSize: &size})
	listed := must(listing.JSON200, listing.HTTPResponse, err).Data
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	statuses := []relay.ListTasksParamsStatus{relay.ListTasksParamsStatusSucceed}
	finding, err := client.ListTasksWithResponse(ctx, &relay.ListTasksParams{Since: &since, Status: &statuses})
	found := must(finding.JSON200, finding.HTTPResponse, err).Data

	report, err := json.Marshal(map[string]any{
		"quoted":           quote.Amount,
		"task_id":          ordered.TaskId,
		"created_at":       ordered.CreatedAt,
		"charged":          detail.Charge.Charged,
		"expires_at":       detail.ExpiresAt,
		"external_task_id": detail.ExternalTaskId,
		"submission":       detail.Submission,
		"task_status":      shown.TaskStatus,
		"listed":           listed[0].TaskId,
		"found":            found[0].TaskId,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(report))
}
